"""A served run's processes are kept as an instance's are: as often, and not where no start can help."""

import re
import threading
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.processes.crew import Crew, EndedEarly
from scripts.serve.__main__ import is_trained, services
from scripts.serve.keeping import RESTARTS, RESTARTS_SECONDS, Keeper, Service
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, TrainerProgress

UNITS = Path(__file__).parents[3] / "train_cloud" / "instance" / "units"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose Python files processes can run as modules."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[3]}")
    return tmp_path


def test_a_process_is_started_again_so_often_in_an_hour_and_no_more() -> None:
    service = Service("receiver", "train_cloud.receiver", [])
    assert [service.may_restart(-9, float(second)) for second in range(RESTARTS + 1)] == [True] * RESTARTS + [False]
    assert service.may_restart(-9, RESTARTS_SECONDS + 0.5)
    assert not service.may_restart(-9, RESTARTS_SECONDS + 0.6)


@pytest.mark.parametrize(("name", "unit"), [("receiver", "ac-receiver"), ("trainer", "ac-training")])
def test_it_is_as_patient_as_the_units_are(name: str, unit: str, tmp_path: Path) -> None:
    text = (UNITS / f"{unit}.service").read_text(encoding="utf-8")
    hopeless = set(map(int, re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.M)[0].split()))
    service = next(one for one in services(run_config(), tmp_path) if one.name == name)
    assert service.hopeless == hopeless
    assert f"StartLimitBurst={RESTARTS}\n" in text
    assert f"StartLimitIntervalSec={RESTARTS_SECONDS:.0f}\n" in text


def test_what_only_a_person_can_mend_ends_it_with_the_last_words(modules: Path) -> None:
    (modules / "refused.py").write_text(
        f"import sys; print('no such field', file=sys.stderr); sys.exit({ExitCode.USAGE:d})"
    )
    with Crew(modules / "logs") as crew:
        keeper = Keeper(crew, threading.Event(), modules / "asked", lambda: False, lambda: None)
        keeper.start(Service("receiver", "refused", []))
        with pytest.raises(EndedEarly, match=r"(?s)receiver ended with exit code 2.*no such field"):
            keeper.keep_until(lambda: False)


def test_a_page_that_cannot_be_had_ends_no_run(modules: Path) -> None:
    (modules / "refused.py").write_text(f"import sys; sys.exit({ExitCode.USAGE:d})")
    with Crew(modules / "logs") as crew:
        keeper = Keeper(crew, threading.Event(), modules / "asked", lambda: False, lambda: None)
        keeper.start(Service("dashboard", "refused", [], needed=False))
        assert keeper.keep_until(lambda: not crew.names)
        assert keeper.end() == ExitCode.OK


def test_a_run_that_is_trained_leaves_the_others_where_they_are(modules: Path) -> None:
    (modules / "trained.py").write_text("")
    (modules / "patient.py").write_text(
        "from runtime.signals import stop_on_signals\nstop = stop_on_signals()\nprint('up', flush=True)\n"
        "while not stop.wait(0.05): pass\n"
    )
    told = threading.Event()
    with Crew(modules / "logs") as crew:
        keeper = Keeper(crew, threading.Event(), modules / "asked", lambda: True, told.set)
        keeper.start(Service("receiver", "patient", []))
        keeper.start(Service("trainer", "trained", []))
        assert keeper.keep_until(told.is_set)
        wait_until(lambda: "up" in crew.log_of("receiver").read_text(), "the receiver is up")
        assert crew.names == ["receiver"]
        (modules / "asked").touch()
        assert not keeper.keep_until(lambda: False)
        assert keeper.end() == ExitCode.OK
        assert crew.names == []


def test_a_trainer_that_was_told_to_end_and_has_not_trained_all_is_started_again(modules: Path) -> None:
    (modules / "told.py").write_text("")
    with Crew(modules / "logs") as crew:
        service = Service("trainer", "told", [])
        keeper = Keeper(crew, threading.Event(), modules / "asked", lambda: bool(service.restarts), lambda: None)
        keeper.start(service)
        assert keeper.keep_until(lambda: not crew.names)
        assert len(service.restarts) == 1
        assert keeper.end() == ExitCode.OK


def test_all_is_trained_when_the_store_says_so(tmp_path: Path) -> None:
    assert not is_trained(tmp_path)
    store = Store(tmp_path / "store.db")
    for state in (TrainerState.STOPPED, TrainerState.DONE):
        store.put_progress(TrainerProgress(state=state))
        assert is_trained(tmp_path) == (state == TrainerState.DONE)
    store.close()

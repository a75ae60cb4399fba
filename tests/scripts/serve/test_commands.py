"""Which run a command of the operator is about: what is named, else the one that is served here, else the cloud's."""

import os
import threading
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import OwnRun, Place, folder_of, place_of
from scripts.cloud.pair import pair
from scripts.cloud.stop import stop
from scripts.serve.folder import ENDED, STOP, held, prepare
from scripts.serve.installed import INSTALLED
from tests.support.operated import command_line
from tests.support.unprivileged import locked_out
from tests.support.waiting import wait_until

IN_ORDER = "*show*) echo ActiveState=inactive; echo Result=success; echo ExecMainStatus=0;;"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `served` of a run, below the present one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served").mkdir()
    prepare(Path("served"), None, "127.0.0.1", None)
    return Path("served")


def test_where_nothing_is_named_it_is_the_run_that_is_served_here(served: Path) -> None:
    assert place_of(None, None, None) == Place(served / "run.json", served)


@pytest.mark.usefixtures("served")
def test_where_terraform_is_set_up_or_a_deployment_is_named_it_is_the_clouds() -> None:
    assert place_of(None, None, Path("deployment.json")) is None
    Path("terraform/.terraform").mkdir(parents=True)
    assert place_of(None, None, None) is None


def test_a_folder_goes_before_the_cloud(served: Path) -> None:
    Path("terraform/.terraform").mkdir(parents=True)
    assert place_of(None, served, None) == Place(served / "run.json", served)


def test_a_run_json_has_its_receiver_beside_it_or_in_work_or_where_it_is_said(served: Path) -> None:
    assert place_of(Path("run.json"), None, None) == Place(Path("run.json"), Path("work"))
    (served / "store.db").touch()
    assert place_of(served / "run.json", None, None) == Place(served / "run.json", served)
    assert place_of(Path("run.json"), Path("keep"), None) == Place(Path("run.json"), Path("keep"))


def test_a_folder_without_a_run_is_told_with_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"holds no run: .*run\.json is missing\. FOLDER= names") as refused:
        place_of(None, tmp_path, None)
    assert refused.value.code == ExitCode.USAGE
    # Who only wants what lies in it needs no settings there.
    assert folder_of(None, tmp_path, None) == tmp_path


def test_the_folder_of_another_user_is_told_with_sudo(served: Path) -> None:
    with locked_out(served), pytest.raises(OperatorError, match=r"is another user's.*put sudo before the command"):
        place_of(None, served, None)


@pytest.mark.usefixtures("served")
def test_what_is_not_served_has_no_string_and_needs_no_stop(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(pair, []) == ExitCode.FAILED
    assert "No receiver runs in served. `make serve FOLDER=served` starts one." in capsys.readouterr().err
    assert command_line(stop, []) == ExitCode.OK
    assert "Nothing serves served; nothing is changed." in capsys.readouterr().out


def test_a_run_json_that_is_served_here_has_its_receiver_there(served: Path) -> None:
    Path("run.json").write_bytes((served / "run.json").read_bytes())
    assert place_of(Path("run.json"), None, None) == Place(Path("run.json"), served)
    Path("run.json").write_text('{"run_id": "another", "bucket": {"name": "my-bucket"}}')
    assert place_of(Path("run.json"), None, None) == Place(Path("run.json"), Path("work"))


def test_a_folder_that_was_moved_is_not_asked_for_another_run_s_data(served: Path) -> None:
    (served / "bucket").mkdir()
    served.rename("old")
    with pytest.raises(OperatorError, match="The folder old was moved or copied"):
        OwnRun(Place(Path("old/run.json"), Path("old")))


@pytest.mark.parametrize("end", ["0", "5", None])
def test_a_stop_says_that_all_is_saved_only_when_who_served_has_said_so(
    served: Path, end: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = threading.Event()

    def serve() -> None:
        with held(served):
            begun.set()
            wait_until((served / STOP).exists, "it is asked to stop")
            if end is not None:
                (served / ENDED).write_text(f"{end}\n")

    server = threading.Thread(target=serve)
    server.start()
    assert begun.wait(60)
    code = command_line(stop, [])
    server.join()
    said = capsys.readouterr()
    if end == "0":
        assert (code, "everything is saved" in said.out) == (ExitCode.OK, True)
    else:
        assert (code, said.out) == (ExitCode.FAILED, "")
        assert f"has ended {'with exit code 5' if end else 'without a word'}, so that something may not be" in said.err


@pytest.mark.skipif(os.name == "nt", reason="systemd is of Linux")
@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("ActiveState=inactive\nResult=success\nExecMainStatus=0", None),
        ("ActiveState=failed\nResult=exit-code\nExecMainStatus=5", "exit code 5 (exit-code)"),
        ("ActiveState=failed\nResult=timeout\nExecMainStatus=9", "exit code 9 (timeout)"),
        ("ActiveState=active\nResult=success\nExecMainStatus=0", "systemd does not say"),
    ],
)
def test_services_count_as_saved_only_when_systemd_has_seen_them_end_in_order(
    served: Path, shown: str, said: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (served / INSTALLED).write_text("system\n")
    systemctl = served / "systemctl"
    # The trainer ends in order; how the receiver does is the question.
    systemctl.write_text(f"#!/bin/sh\ncase $* in *show*ac-receiver*) printf '{shown}\\n';; {IN_ORDER}\nesac\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{served.absolute()}:{os.environ['PATH']}")
    code = command_line(stop, [])
    told = capsys.readouterr()
    if said is None:
        assert (code, "everything is saved" in told.out) == (ExitCode.OK, True), told.err
    else:
        assert (code, told.out) == (ExitCode.FAILED, "")
        assert f"but not in order (ac-receiver: {said}), so that" in told.err

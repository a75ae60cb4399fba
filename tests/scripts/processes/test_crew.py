"""A crew's processes live together and end together, whatever happens to the one who started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.processes.crew import Crew, EndedEarly
from tests.support.waiting import wait_until

PATIENT = """
import sys
from pathlib import Path
from runtime.signals import stop_on_signals

folder, stop = Path(sys.argv[1]), stop_on_signals()
(folder / "up").touch()
while not stop.wait(0.05):
    pass
(folder / "saved").touch()
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose Python files the crew's processes can run as modules."""
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(root)]))
    (tmp_path / "patient.py").write_text(PATIENT)
    return tmp_path


def check_until_it_raises(crew: Crew) -> None:
    def checked() -> bool:
        crew.check()
        return False

    wait_until(checked, "it to raise")


def test_a_process_that_is_let_go_ends_in_order(modules: Path) -> None:
    crew = Crew(modules / "logs")
    crew.start("worker", "patient", str(modules))
    wait_until((modules / "up").exists, "the worker starts", 30)
    assert crew.end("worker") == 0
    assert (modules / "saved").exists()


def test_a_process_that_ends_early_is_reported_with_its_last_words(modules: Path) -> None:
    (modules / "hasty.py").write_text("import sys; sys.exit('no disk left on this machine')")
    with Crew(modules / "logs") as crew:
        crew.start("worker", "hasty")
        wait_until(lambda: "no disk" in crew.log_of("worker").read_text(), "the worker says its last words", 30)
        with pytest.raises(EndedEarly, match=r"(?s)worker ended with exit code 1.*no disk left on this machine"):
            check_until_it_raises(crew)


def test_a_traceback_on_one_line_is_shown_by_its_beginning_and_its_end(modules: Path) -> None:
    (modules / "verbose.py").write_text("import sys; sys.exit('it began' + 9_000 * '.' + 'read timed out')")
    with Crew(modules / "logs") as crew:
        crew.start("worker", "verbose")
        wait_until(lambda: "timed out" in crew.log_of("worker").read_text(), "the worker says its last words", 30)
        with pytest.raises(EndedEarly, match=r"it began\.+ … \.+read timed out") as ended:
            check_until_it_raises(crew)
    assert len(str(ended.value)) < 1_000


def test_what_is_secret_travels_in_the_environment_only(modules: Path) -> None:
    (modules / "teller.py").write_text("import os; print(os.environ['PIN']); input()")
    with Crew(modules / "logs") as crew:
        crew.start("worker", "teller", environment={"PIN": "1234"})
        wait_until(lambda: "1234" in crew.log_of("worker").read_text(), "the worker has read it", 30)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_when_the_starter_is_killed_its_processes_still_end_in_order(modules: Path) -> None:
    code = (
        "import sys, threading; from pathlib import Path; from scripts.processes.crew import Crew\n"
        f"Crew(Path({str(modules / 'logs')!r})).start('worker', 'patient', {str(modules)!r})\n"
        "threading.Event().wait()"
    )
    starter = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until((modules / "up").exists, "the worker starts", 30)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait(120)
    wait_until((modules / "saved").exists, "the worker has ended in order", 30)

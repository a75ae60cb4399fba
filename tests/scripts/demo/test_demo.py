"""The demo ends every process it started, however it ends itself, and says in a sentence why it did not succeed.

That it succeeds is shown by `.ci/run`, which runs it as a person would.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.demo.__main__ import MARKER, UnusableFolder, fresh_folder
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
PROCESSES = {"s3", "receiver", "trainer", "bridge"}
posix = pytest.mark.skipif(os.name == "nt", reason="signals between processes are POSIX")


def demo(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    with (folder / "demo.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.demo", "--output", str(folder / "out"), *options],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def started(folder: Path) -> dict[str, int]:
    """Name and process id of what the demo has started so far."""
    lines = (folder / "demo.log").read_text(encoding="utf-8")
    return {name: int(pid) for name, pid in re.findall(r'"process started" name=(\w+) pid=(\d+)', lines)}


def running(pid: int) -> bool:
    """Whether the process still runs; one that has ended but was not yet waited for counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


@contextmanager
def no_process_left(folder: Path) -> Iterator[None]:
    """At the end of the block the demo has gone; so must everything it started, within a minute."""
    yield
    wait_until(lambda: not any(running(pid) for pid in started(folder).values()), "the demo's processes are gone", 60)


def experience_arrives(folder: Path) -> bool:
    log = folder / "out" / "logs" / "bridge.log"
    return set(started(folder)) == PROCESSES and log.exists() and log.stat().st_size > 0


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "just started": lambda folder: "s3" in started(folder),
    "still starting": lambda folder: "trainer" in started(folder),
    "while it learns": experience_arrives,
}


@posix
@pytest.mark.slow
@pytest.mark.parametrize("moment", list(MOMENTS))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_every_process(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    process = demo(tmp_path)
    with no_process_left(tmp_path):
        wait_until(lambda: MOMENTS[moment](tmp_path), moment, 60)
        process.send_signal(number)
        assert process.wait(300) == 130
    assert "Stopped; every process of the demo has ended." in (tmp_path / "demo.log").read_text()


@posix
@pytest.mark.slow
def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    process = demo(tmp_path)
    with no_process_left(tmp_path):
        wait_until(lambda: experience_arrives(tmp_path), "the bridge drives", 60)
        process.kill()
        process.wait(120)


@pytest.mark.slow
def test_a_demo_that_runs_out_of_time_says_so_and_still_leaves_its_figures(tmp_path: Path) -> None:
    process = demo(tmp_path, "--minutes", "0.4")
    assert process.wait(300) == 1
    said = (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert "No policy drove 3 clean laps in a row within 24s." in said
    assert (tmp_path / "out" / "metrics.json").exists()


def test_a_track_that_does_not_exist_is_refused_before_anything_starts_or_is_deleted(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "out")
    (tmp_path / "out" / "metrics.json").write_text("{}")
    process = demo(tmp_path, "--track", "nowhere.csv")
    assert process.wait(120) == 2
    assert "nowhere.csv" in (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert started(tmp_path) == {}
    assert (tmp_path / "out" / "metrics.json").exists()


def test_a_folder_that_no_demo_made_is_left_alone_even_with_logs_in_it(tmp_path: Path) -> None:
    precious = tmp_path / "out" / "thesis.txt"
    (tmp_path / "out" / "logs").mkdir(parents=True)
    precious.write_text("years of work")
    assert demo(tmp_path).wait(120) == 2
    assert precious.exists()
    assert (tmp_path / "out" / "logs").exists()


def test_the_folder_of_an_earlier_demo_is_emptied_but_not_what_it_links_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "thesis.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("years of work")
    folder = tmp_path / "out"
    for _ in range(2):
        fresh_folder(folder)
        assert {entry.name for entry in folder.iterdir()} == {MARKER, "instance"}
        (folder / "logs").mkdir()
        (folder / "metrics.json").write_text("{}")
        if os.name == "posix":
            (folder / "link").symlink_to(elsewhere.parent)
    assert elsewhere.exists()


def test_an_output_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert demo(tmp_path).wait(120) == 2
    said = (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert "Name another folder with --output." in said
    assert "Traceback" not in said


def test_an_output_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnusableFolder, match="Name another folder"):
        fresh_folder(tmp_path / "file" / "out")

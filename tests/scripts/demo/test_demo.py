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

from scripts.demo.folder import LOCK, MARKER, fresh_folder
from scripts.processes.folder import UnusableFolder
from tests.support.ended import has_ended
from tests.support.small_disk import SmallDisk
from tests.support.tools import need_root
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store
from train_cloud.run_config import load_run_config

ROOT = Path(__file__).parents[3]
PROCESSES = {"receiver", "trainer", "dashboard", "bridge"}
posix = pytest.mark.skipif(os.name == "nt", reason="signals between processes are POSIX")


def demo(folder: Path, *options: str, output: Path | None = None) -> subprocess.Popen[bytes]:
    with (folder / "demo.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.demo", "--output", str(output or folder / "out"), *options],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def log_of(folder: Path) -> str:
    return (folder / "demo.log").read_text(encoding="utf-8")


def started(folder: Path) -> dict[str, int]:
    """Name and process id of what the demo has started so far."""
    lines = (folder / "demo.log").read_text(encoding="utf-8")
    return {name: int(pid) for name, pid in re.findall(r'"process started" name=(\w+) pid=(\d+)', lines)}


@contextmanager
def no_process_left(folder: Path) -> Iterator[None]:
    """At the end of the block the demo has gone; so must everything it started, within a minute."""
    yield
    wait_until(lambda: all(map(has_ended, started(folder).values())), "the demo's processes are gone", 60)


def experience_arrives(folder: Path) -> bool:
    log = folder / "out" / "logs" / "bridge.log"
    return set(started(folder)) == PROCESSES and log.exists() and log.stat().st_size > 0


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "just started": lambda folder: "receiver" in started(folder),
    "still starting": lambda folder: "dashboard" in started(folder),
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
    # On the demo's own track it may be done by then.
    process = demo(tmp_path, "--minutes", "0.4", "--track", "seed:33:2500")
    assert process.wait(300) == 1
    said = (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert "No policy drove 3 clean laps in a row, and the next one too, from every start within 24s." in said
    assert (tmp_path / "out" / "metrics.json").exists()
    run = load_run_config(tmp_path / "out" / "run.json")
    assert open_store(run.bucket, "runs/demo/").find("checkpoints/LATEST") is not None, "the run outlives its demo"


@pytest.mark.slow
def test_a_track_that_does_not_exist_is_refused_before_anything_starts_or_is_deleted(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "out"):
        (tmp_path / "out" / "metrics.json").write_text("{}")
    process = demo(tmp_path, "--track", "nowhere.csv")
    assert process.wait(120) == 2
    assert "nowhere.csv" in (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert started(tmp_path) == {}
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.slow
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
        with fresh_folder(folder):
            held = {entry.name for entry in folder.iterdir()}
            assert held == {MARKER, LOCK, "instance"}
        (folder / "logs").mkdir()
        (folder / "metrics.json").write_text("{}")
        if os.name == "posix":
            (folder / "link").symlink_to(elsewhere.parent)
    assert elsewhere.exists()


@pytest.mark.slow
def test_an_output_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert demo(tmp_path).wait(120) == 2
    said = (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert "Name another folder with `make demo OUTPUT=folder` (--output)." in said
    assert "Traceback" not in said


def test_an_output_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnusableFolder, match="Name another folder"), fresh_folder(tmp_path / "file" / "out"):
        pass


@pytest.mark.slow
def test_a_second_demo_into_the_same_folder_says_so_and_leaves_it_alone(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "out"):
        (tmp_path / "out" / "metrics.json").write_text("{}")
        assert demo(tmp_path).wait(60) == 2
        said = (tmp_path / "demo.log").read_text(encoding="utf-8")
        assert f"Another demo works in {tmp_path / 'out'} now." in said
        assert "make demo OUTPUT=" in said
        assert (tmp_path / "out" / "metrics.json").exists()
    with fresh_folder(tmp_path / "out"):
        assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.slow
def test_a_disk_without_room_is_refused_before_anything_starts(tmp_path: Path) -> None:
    need_root()
    with SmallDisk(tmp_path / "disk") as disk:
        assert demo(tmp_path, output=disk.folder / "out").wait(60) == 4
    said = (tmp_path / "demo.log").read_text(encoding="utf-8")
    assert "MiB free, and a demo may need 200." in said
    assert started(tmp_path) == {}


@pytest.mark.slow
def test_a_disk_that_fills_up_meanwhile_is_told_with_who_is_stuck(tmp_path: Path) -> None:
    need_root()
    with SmallDisk(tmp_path / "disk", 210) as disk:
        out = disk.folder / "out"
        process = demo(tmp_path, output=out)
        try:
            wait_until(lambda: (out / "logs" / "bridge.log").exists(), "it starts", 90)
            wait_until(lambda: b"linked" in (out / "logs" / "bridge.log").read_bytes(), "it drives", 90)
            disk.fill()
            wait_until(lambda: process.poll() is not None or "The last words" in log_of(tmp_path), "it is told", 120)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(200)
    assert "full" in log_of(tmp_path)
    assert "Traceback" not in log_of(tmp_path)


@posix
@pytest.mark.slow
def test_when_nothing_moves_that_is_told_and_an_interruption_shows_what_was_learned(tmp_path: Path) -> None:
    # What has been driven before everything stops may be enough to pass: the demo must not end by that.
    process = demo(tmp_path, "--whole-time")
    with no_process_left(tmp_path):
        wait_until(lambda: re.search(r"done=[1-9]", log_of(tmp_path)) is not None, "it learns", 120)
        os.killpg(started(tmp_path)["bridge"], signal.SIGSTOP)
        told = re.compile(r"Nothing has moved after 3(.*\n)*  bridge: time=.*\n")
        wait_until(lambda: told.search(log_of(tmp_path)) is not None, "it is told, with the last words of each", 120)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "Ending: each process saves" in log_of(tmp_path), "it says so at once", 10)
        os.killpg(started(tmp_path)["bridge"], signal.SIGCONT)
        assert process.wait(120) == 130
    assert "updates" in log_of(tmp_path).partition("The car on seed:7:1200 after")[2]
    assert (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.slow
@posix
def test_a_receiver_that_does_not_start_holds_up_no_interruption(tmp_path: Path) -> None:
    process = demo(tmp_path)
    with no_process_left(tmp_path):
        wait_until(lambda: "receiver" in started(tmp_path), "the receiver starts", 60)
        os.killpg(started(tmp_path)["receiver"], signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert "Traceback" not in log_of(tmp_path)

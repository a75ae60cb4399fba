"""Progress is one live line, or few plain ones, with honest rates."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import runtime.progress
from runtime.progress import Progress, duration


def test_without_a_terminal_progress_is_a_plain_line_and_not_one_per_update(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO), Progress("training", total=100, stream=stream) as progress:
        for done in range(100):
            progress.update(done, laps=3)
    assert stream.getvalue() == ""
    assert [record.getMessage() for record in caplog.records] == ["training", "training"]
    last = caplog.records[-1].__dict__["fields"]
    assert last["done"] == "99/100"
    assert last["laps"] == 3
    assert {"per_second", "left"} <= set(last)


def test_a_resumed_count_is_not_taken_for_speed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(runtime.progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with (
        caplog.at_level(logging.INFO),
        Progress("training", total=2000, stream=io.StringIO()) as progress,
    ):
        progress.update(1000)
        progress.update(1500)
    assert caplog.records[-1].__dict__["fields"] == {"done": "1500/2000", "per_second": "50", "left": "10s"}


def test_the_time_left_goes_by_the_last_half_minute_and_not_by_a_pause_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 600 s without a step, then 40 s at 10 a second; and 40 s of silence at the end.
    course = [(float(at), 0) for at in range(600)] + [(600.0 + at, 10 * at) for at in range(41)]
    course += [(640.0 + at, 400) for at in range(1, 41)]
    clock = iter([at for at, _ in course])
    monkeypatch.setattr(runtime.progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with caplog.at_level(logging.INFO), Progress("training", total=1000, stream=io.StringIO()) as progress:
        for _, done in course:
            progress.update(done)
    told = {record.__dict__["fields"]["done"]: record.__dict__["fields"] for record in caplog.records}
    assert told["300/1000"] == {"done": "300/1000", "per_second": "10", "left": "1m10s"}
    assert told["0/1000"] == told["400/1000"] | {"done": "0/1000"} == {"done": "0/1000"}


def test_who_knows_the_time_left_better_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    for left in ("3m07s", None):
        with caplog.at_level(logging.INFO), Progress("training", total=100, stream=io.StringIO()) as progress:
            progress.update(1)
            progress.update(50, left=left)
    assert [record.__dict__["fields"].get("left") for record in caplog.records[1::2]] == ["3m07s", None]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (187, "3m07s"), (7500, "2h05m")])
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


LOGGING_BESIDE_A_PROGRESS_LINE = (
    "import logging, threading; from runtime.logs import configure_logging; from runtime.progress import Progress\n"
    "configure_logging('p')\n"
    "def log(name):\n    for number in range(50): logging.info(f'{name} {number} ' + 'x' * 300)\n"
    "with Progress('training', total=100) as progress:\n"
    "    progress.update(1)\n"
    "    threads = [threading.Thread(target=log, args=(name,)) for name in 'ab']\n"
    "    for thread in threads: thread.start()\n"
    "    for done in range(100): progress.update(done)\n"
    "    for thread in threads: thread.join()"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_log_lines_stay_whole_beside_the_progress_line_of_a_terminal() -> None:
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", LOGGING_BESIDE_A_PROGRESS_LINE], stderr=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    written = b""
    # Reading from a terminal that nobody has open any more is an error on Linux.
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while data := terminal.read(65536):
            written += data
    assert child.wait(120) == 0
    for name in "ab":
        for number in range(50):
            assert f"p: {name} {number} {'x' * 300}\r\n".encode() in written
    assert b"training  done=" in written

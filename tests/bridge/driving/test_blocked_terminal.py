"""A terminal that takes no more (selected text, Ctrl-S, a stalled ssh) or a full pipe stops no drive in real time."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from experience import environment
from experience.codec import decode_batch
from racing.task import TaskConfig
from runtime.exit_codes import ExitCode
from tests.bridge.driving.test_drive import Bridge, stored_steps
from tests.support.policies import weights_update
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from wire.messages import FlowControl

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="pseudoterminals, and pipes that open a second time"),
]


class Terminal:
    """What a process has for standard error (`end`): read while `goes_on` is set; `fill` leaves it no room."""

    def __init__(self, ends: tuple[int, int]) -> None:
        self._reading_end, self.end = ends
        self.goes_on, self.text = threading.Event(), b""
        self.goes_on.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def fill(self) -> None:
        """Stop reading, and write until it is full; through another opening, since not to wait is a thing of each."""
        self.goes_on.clear()
        other = os.open(f"/proc/self/fd/{self.end}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            wait_until(lambda: _takes_no_more(other), "the terminal to be full")
        finally:
            os.close(other)

    def close(self) -> None:
        """Close this process's hold on it, and wait until the rest was read."""
        self.goes_on.set()
        os.close(self.end)
        self._reader.join(120)
        os.close(self._reading_end)

    def _read(self) -> None:
        while True:
            self.goes_on.wait()
            try:
                part = os.read(self._reading_end, 65536)
            except OSError:
                # A pseudoterminal that nobody holds open any more.
                return
            if not part:
                return
            self.text += part


def _takes_no_more(descriptor: int) -> bool:
    try:
        os.write(descriptor, b" " * 4096)
    except BlockingIOError:
        return True
    return False


@contextmanager
def terminal(ends: Callable[[], tuple[int, int]]) -> Iterator[Terminal]:
    opened = Terminal(ends())
    try:
        yield opened
    finally:
        opened.close()


class Still:
    """Whether no step has arrived for so long that one would have."""

    def __init__(self, server: WireServer) -> None:
        self._server, self._steps, self._since = server, -1, 0.0

    def __call__(self) -> bool:
        steps, now = stored_steps(self._server), time.monotonic()
        if steps != self._steps:
            self._steps, self._since = steps, now
        return now - self._since > 1.5


def drives_on(server: WireServer) -> None:
    """Wait for three seconds' steps."""
    before = stored_steps(server)
    wait_until(lambda: stored_steps(server) > before + 60, "it drives on", 30.0)


@pytest.mark.parametrize("ends", ["openpty", "pipe"])
def test_a_terminal_that_takes_no_more_does_not_stop_the_car(tmp_path: Path, ends: str) -> None:
    with WireServer() as server, terminal(getattr(os, ends)) as shown:
        server.greeting = [weights_update(environment.racing(TaskConfig()).signature, 1)]
        child = Bridge(server, tmp_path, "--real-time", "--rate", "20", stderr=shown.end)
        try:
            wait_until(lambda: stored_steps(server) > 20, "it drives", 30.0)
            shown.fill()
            drives_on(server)
            # The control thread itself logs a line at each change.
            server.push(FlowControl(10, 10, 10, done=True))
            wait_until(Still(server), "nothing to be collected for a run that is done", 30.0)
            server.push(FlowControl(10, 10, 10))
            drives_on(server)
            shown.goes_on.set()
            child.process.send_signal(signal.SIGTERM)
            assert child.ended() == ExitCode.OK
        finally:
            child.process.kill()
            child.process.wait()
    assert b"driving goes on, uncollected" in shown.text
    assert b"the run goes on" in shown.text
    (blobs,) = server.stored.values()
    assert np.concatenate([decode_batch(blob).off_period for blob in blobs]).mean() < 0.2

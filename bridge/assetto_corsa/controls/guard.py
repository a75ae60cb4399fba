"""Guards the controls of a bridge which dies, hangs or ends: `python -m bridge.assetto_corsa.controls.guard`.

Promises that the controls are neutral, with no button pressed and no teleport asked for, once nothing was said for
HEARTBEAT_SECONDS; that they stay so for a while after the bridge has ended, however it did, and are given back then;
and that each message is answered by a byte once it is done, so that a guard which hangs is found out. One guard at a
time has a pad or a joystick: the next one waits for it. It imports no numpy, so that it starts fast; supervisor.py is
the other end.
"""

import os
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from bridge.assetto_corsa.controls.controls import Backend, BackendUnavailable, Button
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.device_lock import take
from bridge.assetto_corsa.controls.gamepad import Gamepad
from bridge.assetto_corsa.controls.vjoy import VJoy
from runtime.priority import put_this_thread_first

HEARTBEAT_SECONDS = 0.3
"""A control loop that said nothing for so long stands still: six periods at 20 Hz."""
MESSAGE = struct.Struct("<cBxx3f")
"""What is said (BEAT, APPLY, PRESS or RELEASE the button of that index in BUTTONS), and a command."""
BEAT, APPLY, PRESS, RELEASE = b"b", b"a", b"p", b"r"
BUTTONS = tuple(Button)
BACKENDS: dict[str, Callable[[], Backend]] = {each.name: each for each in (CustomAI, Gamepad, VJoy)}
"""By their names, in the order of preference."""
READY = "ready"
"""The first line that it says; another one tells why there are no controls."""
_WHILE_STILL_SECONDS = 0.02
_SPARE_SECONDS = 2.0
"""What the guard before may need beyond the time for which it holds its controls."""


class Mailbox:
    """What came through the pipe, read by a thread; ends with the pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages: deque[bytes] = deque()
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def take(self, seconds: float) -> list[bytes] | None:
        """The messages that came, after waiting at most so long for the first; None once the pipe has ended."""
        with self._news:
            if not self._messages and not self._ended:
                self._news.wait(seconds)
            messages = list(self._messages)
            self._messages.clear()
            return messages if messages or not self._ended else None

    def _read(self) -> None:
        put_this_thread_first()
        rest = b""
        while True:
            data = b""
            with suppress(OSError):
                data = os.read(self._descriptor, 4096)
            rest += data
            whole = len(rest) - len(rest) % MESSAGE.size
            with self._news:
                self._messages.extend(rest[at : at + MESSAGE.size] for at in range(0, whole, MESSAGE.size))
                self._ended = not data
                self._news.notify()
            if not data:
                return
            rest = rest[whole:]


def guard(backend: Backend, inbox: Mailbox, answer: Callable[[int], None]) -> None:
    """Do what the messages say with the open controls, neutral while there are none, until the pipe ends.

    The controls are neutral then. `answer` is told how many messages were done.
    """
    seconds = HEARTBEAT_SECONDS
    while (messages := inbox.take(seconds)) is not None:
        if messages:
            seconds = HEARTBEAT_SECONDS
            for message in messages:
                _do(backend, message)
            answer(len(messages))
        else:
            if seconds == HEARTBEAT_SECONDS:
                let_go(backend)
            backend.neutral()
            seconds = _WHILE_STILL_SECONDS
    let_go(backend)


def let_go(backend: Backend) -> None:
    """Neutral, no button pressed, and no teleport asked for."""
    backend.neutral()
    for button in backend.buttons:
        backend.press(button, False)


def _do(backend: Backend, message: bytes) -> None:
    what, button, steer, throttle, brake = MESSAGE.unpack(message)
    if what == APPLY:
        backend.apply(steer, throttle, brake)
    elif what in (PRESS, RELEASE):
        backend.press(BUTTONS[button], what == PRESS)


def _answer(count: int) -> None:
    # Whoever wanted to know may be gone, which the other pipe says as well.
    with suppress(OSError):
        os.write(sys.stdout.fileno(), b"." * count)


def _silence() -> None:
    """Hold nobody up who waits for the end of what we print: the bridge has ended, we hold the car a while longer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.dup2(nowhere, stream.fileno())


def main(name: str, hold_seconds: float) -> int:
    """Guard the controls of this name for the process at the other end of standard input.

    `hold_seconds` is for how long they are held neutral when that process has ended.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The game may want every core, and a guard that is late is taken for one that hangs.
    put_this_thread_first()
    lock, backend = None, BACKENDS[name]()
    try:
        if isinstance(backend, CustomAI):
            backend.join()
        else:
            lock = take(name, hold_seconds + _SPARE_SECONDS)
            backend.open()
    except BackendUnavailable as unavailable:
        print(unavailable, flush=True)
        return 1
    print(READY, flush=True)
    try:
        guard(backend, Mailbox(sys.stdin.fileno()), _answer)
    except BackendUnavailable as lost:
        # The bridge finds nobody at the other end of its pipe, and says so.
        print(lost, file=sys.stderr)
        return 1
    _silence()
    time.sleep(hold_seconds)
    backend.close()
    if lock is not None:
        lock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))

"""Guards the controls with a process of its own, so that a car whose driver dies or hangs does not drive on.

Promises that within HEARTBEAT_SECONDS of the last command the controls are neutral, however the bridge ended (SIGKILL
and a crash of the interpreter included) or why its control loop stands still, that this holds until commands come
again, and that nobody drives unguarded: a command raises GuardLost once the guard is gone. CSP's memory is written by
the bridge itself, and the guard only writes when it must; pads and joysticks vanish or freeze with the process that
feeds them, so the guard is that process and the bridge's commands go through it (a pipe, about 0.1 ms). The guard
starts fast: it imports no numpy.
"""

import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from bridge.assetto_corsa import controls
from bridge.assetto_corsa.controls import NEUTRAL, Backend, BackendUnavailable, Button, Vector
from bridge.assetto_corsa.csp import CustomAI
from bridge.assetto_corsa.gamepad import Gamepad
from bridge.assetto_corsa.vjoy import VJoy

HEARTBEAT_SECONDS = 0.3
"""A control loop that sent nothing for so long stands still: six periods at 20 Hz."""
HOLD_SECONDS = 3.0
"""For so long the guard of a dead bridge holds the controls neutral: the car slows down before the game has it back."""
_START_SECONDS = 10.0
_END_SECONDS = 5.0
_WHILE_STILL_SECONDS = 0.02
_MESSAGE = struct.Struct("<cBxx3f")
"""What is said (_BEAT, _APPLY, _PRESS + button, _RELEASE + button, _CLOSE), and a command."""
_BEAT, _APPLY, _PRESS, _RELEASE, _CLOSE = b"b", b"a", b"p", b"r", b"c"
_READY = "ready"
_BUTTONS = tuple(Button)

_log = logging.getLogger(__name__)


class GuardLost(BackendUnavailable):
    """The process that guards the controls is gone, so nobody may drive; the text says so."""


class Supervised:
    """A backend with a guard; drives only while the guard lives.

    Args:
        backend: closed; CustomAI is used as it is, of Gamepad and VJoy the guard opens one of its own.
        hold_seconds: for so long the guard holds the controls neutral after the bridge died.
    """

    def __init__(self, backend: Backend, hold_seconds: float = HOLD_SECONDS) -> None:
        self._backend = backend
        self._hold_seconds = hold_seconds
        self._direct = backend.name == CustomAI.name
        self._guard: subprocess.Popen[bytes] | None = None
        self._said_at = 0.0

    @property
    def name(self) -> str:
        """Of the guarded backend."""
        return self._backend.name

    @property
    def can_teleport(self) -> bool:
        """As the guarded backend can."""
        return self._backend.can_teleport

    @property
    def buttons(self) -> frozenset[Button]:
        """Of the guarded backend."""
        return self._backend.buttons

    @property
    def guard_pid(self) -> int | None:
        """The guard's process id; None while closed."""
        return None if self._guard is None else self._guard.pid

    def why_not(self) -> str | None:
        """Why the guarded backend cannot be used; None when it can."""
        return None if self._guard is not None else controls.why_not(self)

    def open(self) -> None:
        """Take the controls, neutral, and start the guard; raises BackendUnavailable."""
        if self._guard is not None:
            return
        if self._direct:
            self._backend.open()
        try:
            self._guard = _started(self.name, self._hold_seconds)
        except BackendUnavailable:
            self._backend.close()
            raise
        self._said_at = time.monotonic()

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; does nothing on closed controls. Raises GuardLost."""
        if self._guard is None:
            return
        still = time.monotonic() - self._said_at
        if still > HEARTBEAT_SECONDS:
            _log.info("nothing was commanded for %.2f s; the controls were neutral meanwhile", still)
        # The guard must know first that we are back, or it could take this command away.
        self._say(_BEAT if self._direct else _APPLY, 0, steer, throttle, brake)
        if self._direct:
            self._backend.apply(steer, throttle, brake)

    def neutral(self) -> None:
        """Roll out under a gentle brake; does nothing on closed controls. Never raises."""
        try:
            self.apply(*NEUTRAL)
        except BackendUnavailable:
            self._backend.neutral()

    def close(self) -> None:
        """Leave the controls neutral and give them back; ends the guard. Safe to call twice."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        self._backend.close()
        try:
            assert guard.stdin is not None
            with guard.stdin as pipe:
                pipe.write(_MESSAGE.pack(_CLOSE, 0, *NEUTRAL))
            guard.wait(_END_SECONDS)
        except OSError:
            guard.wait()
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        assert guard.stdout is not None
        guard.stdout.close()

    def teleport(self, position: Vector, direction: Vector) -> None:
        """As the guarded backend does."""
        self._backend.teleport(position, direction)

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button; raises KeyError for other buttons, and GuardLost."""
        if button not in self.buttons:
            raise KeyError(button)
        if self._direct:
            self._backend.press(button, down)
        elif self._guard is not None:
            self._say(_PRESS if down else _RELEASE, _BUTTONS.index(button), *NEUTRAL)

    def _say(self, what: bytes, button: int, steer: float, throttle: float, brake: float) -> None:
        assert self._guard is not None
        assert self._guard.stdin is not None
        try:
            # Unbuffered: one small write is in the pipe as a whole or not at all.
            self._guard.stdin.write(_MESSAGE.pack(what, button, steer, throttle, brake))
        except OSError as error:
            self._backend.neutral()
            raise GuardLost(
                "The process that guards the controls has ended, and nobody drives without it. Start the bridge again; "
                "if it happens anew, look whether something on this PC (an antivirus program?) ends it."
            ) from error
        self._said_at = time.monotonic()


def _started(name: str, hold_seconds: float) -> "subprocess.Popen[bytes]":
    """A guard that is ready; raises BackendUnavailable with what it said instead."""
    import_folder = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (import_folder, os.environ.get("PYTHONPATH")) if part)
    # A session (a process group) of its own: Ctrl-C in the terminal is not meant for it.
    if sys.platform == "win32":
        flags, session = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW, False
    else:
        flags, session = 0, True
    guard = subprocess.Popen(
        [sys.executable, "-m", "bridge.assetto_corsa.supervisor", name, str(hold_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=session,
        creationflags=flags,
    )
    answer = _first_line(guard)
    if answer == _READY:
        return guard
    guard.kill()
    guard.wait()
    for pipe in (guard.stdin, guard.stdout):
        assert pipe is not None
        pipe.close()
    raise BackendUnavailable(
        answer or f"the process that guards the controls has not started within {_START_SECONDS:g} s. Try again."
    )


def _first_line(guard: "subprocess.Popen[bytes]") -> str:
    """What it says first; empty when it says nothing in time."""
    lines: list[str] = []

    def read() -> None:
        assert guard.stdout is not None
        # Pipes cannot be waited for with a time limit on Windows, threads can.
        text = b""
        while not text.endswith(b"\n") and (more := guard.stdout.read(4096)):
            text += more
        lines.append(text.decode("utf-8", errors="replace").strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(_START_SECONDS)
    return lines[0] if lines else ""


class _Inbox:
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
        rest = b""
        while True:
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                data = b""
            rest += data
            whole = len(rest) - len(rest) % _MESSAGE.size
            with self._news:
                self._messages.extend(rest[at : at + _MESSAGE.size] for at in range(0, whole, _MESSAGE.size))
                self._ended = not data
                self._news.notify()
            if not data:
                return
            rest = rest[whole:]


def guard(backend: Backend, inbox: _Inbox, hold_seconds: float) -> None:
    """Do what the messages say, neutral while there are none, until the pipe ends."""
    closing = False
    seconds = HEARTBEAT_SECONDS
    while (messages := inbox.take(seconds)) is not None:
        if not messages:
            backend.neutral()
        seconds = HEARTBEAT_SECONDS if messages else _WHILE_STILL_SECONDS
        for message in messages:
            what, button, steer, throttle, brake = _MESSAGE.unpack(message)
            if what == _APPLY:
                backend.apply(steer, throttle, brake)
            elif what in (_PRESS, _RELEASE):
                backend.press(_BUTTONS[button], what == _PRESS)
            closing = closing or what == _CLOSE
    if not closing:
        backend.neutral()
        time.sleep(hold_seconds)
    elif backend.name == CustomAI.name:
        # The bridge has taken its page away by itself; the next bridge's may lie there already.
        return
    backend.close()


def main(name: str, hold_seconds: float) -> int:
    """Guard the controls of this name for the process at the other end of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        backend: Backend
        if name == CustomAI.name:
            backend = joined = CustomAI()
            joined.join()
        else:
            backend = {Gamepad.name: Gamepad, VJoy.name: VJoy}[name]()
            backend.open()
    except BackendUnavailable as unavailable:
        print(unavailable, flush=True)
        return 1
    print(_READY, flush=True)
    guard(backend, _Inbox(sys.stdin.fileno()), hold_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))

"""Guards the controls with a process of its own, so that a car whose driver dies or hangs does not drive on.

Promises that within HEARTBEAT_SECONDS of the last command the controls are neutral, however the bridge ended (SIGKILL
and a crash of the interpreter included) or why its control loop stands still; that this holds until commands come
again, and for HOLD_SECONDS after the end, an orderly one too, so that the car slows down before the game has it back;
and that nobody drives unguarded: a command raises GuardLost once the guard is gone or does not answer, and no command
ever waits for it. CSP's memory is written by the bridge itself, and the guard only writes when it must; pads and
joysticks vanish or freeze with the process that feeds them, so the guard is that process and the bridge's commands go
through it (a pipe, about 0.1 ms). guard.py is the other end.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from bridge.assetto_corsa.controls import controls
from bridge.assetto_corsa.controls.controls import NEUTRAL, Backend, BackendUnavailable, Button, Vector
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.guard import APPLY, BEAT, BUTTONS, HEARTBEAT_SECONDS, MESSAGE, PRESS, READY, RELEASE

HOLD_SECONDS = 3.0
"""For so long the controls of a bridge that has ended, or lost its guard, are held neutral."""
ANSWER_SECONDS = 1.0
"""A guard that answers nothing for so long hangs."""
_MOST_UNANSWERED = 128
"""Messages: 2 KiB, half of what the smallest pipe holds (Windows), so that a write never waits for the guard."""
_START_SECONDS = 10.0

_log = logging.getLogger(__name__)


class GuardLost(BackendUnavailable):
    """The process that guards the controls is gone, so nobody may drive; the text says so."""


class Supervised:
    """A backend with a guard; drives only while the guard lives.

    `backend` is closed; CustomAI is used as it is, of Gamepad and VJoy the guard opens one of its own. The controls are
    held neutral for `hold_seconds` after the bridge has ended.
    """

    def __init__(self, backend: Backend, hold_seconds: float = HOLD_SECONDS) -> None:
        self._backend = backend
        self.name, self.can_teleport, self.buttons = backend.name, backend.can_teleport, backend.buttons
        self._hold_seconds = hold_seconds
        self._direct = backend if isinstance(backend, CustomAI) else None
        self._guard: _Guard | None = None
        self._lost = False

    @property
    def guard_pid(self) -> int | None:
        """The guard's process id; None while closed."""
        return None if self._guard is None else self._guard.process.pid

    def why_not(self) -> str | None:
        """Why the guarded backend cannot be used; None when it can."""
        return None if self._guard is not None else controls.why_not(self)

    def open(self) -> None:
        """Take the controls, neutral, and start the guard; raises BackendUnavailable."""
        if self._guard is not None:
            return
        if self._direct is not None:
            self._direct.open()
        try:
            self._guard = _Guard(_started(self.name, self._hold_seconds))
        except BackendUnavailable:
            self._backend.close()
            raise
        self._lost = False

    def renew(self) -> None:
        """Take CSP's page away and offer a new one, when it has let go of the car; does nothing to a pad.

        Raises BackendUnavailable when CSP does not answer: the controls are closed then, until it is asked again.
        """
        if self._direct is None or self._lost or (self._guard is not None and not self._direct.ours):
            # Whose car it is, if not ours, the next command says.
            return
        guard, self._guard = self._guard, None
        if guard is not None:
            # It has the page, too, which would be no new one.
            guard.kill()
        self._direct.close()
        self.open()

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; does nothing on closed controls.

        Raises GuardLost, and what the guarded backend raises.
        """
        if self._guard is None:
            return
        if (still := self._guard.still) > HEARTBEAT_SECONDS:
            _log.info("nothing was commanded for %.2f s; the controls were neutral meanwhile", still)
        # The guard must know first that we are back, or it could take this command away.
        self._say(APPLY if self._direct is None else BEAT, 0, steer, throttle, brake)
        if self._direct is not None:
            self._direct.apply(steer, throttle, brake)

    def neutral(self) -> None:
        """Roll out under a gentle brake; does nothing on closed controls. Never raises."""
        try:
            self.apply(*NEUTRAL)
        except BackendUnavailable as lost:
            _log.debug("neutral without us: %s", lost)

    def close(self) -> None:
        """Leave the controls neutral, and to the guard, which gives them back a little later. Safe to call twice."""
        guard, self._guard = self._guard, None
        if guard is None or self._lost:
            return
        if guard.gone:
            self._lose()
            return
        if self._direct is not None:
            self._direct.hand_over()
        guard.end()

    def teleport(self, position: Vector, direction: Vector) -> None:
        """As the guarded backend does."""
        self._backend.teleport(position, direction)

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button; raises KeyError for other buttons, and GuardLost."""
        if button not in self.buttons:
            raise KeyError(button)
        if self._direct is not None:
            self._direct.press(button, down)
        elif self._guard is not None:
            self._say(PRESS if down else RELEASE, BUTTONS.index(button), *NEUTRAL)

    def _say(self, what: bytes, button: int, steer: float, throttle: float, brake: float) -> None:
        assert self._guard is not None
        try:
            if self._lost:
                raise BrokenPipeError
            self._guard.say(MESSAGE.pack(what, button, steer, throttle, brake))
        except OSError as error:
            if not self._lost:
                self._lose()
            raise GuardLost(
                "The process that guards the controls has ended, or did not answer and was ended, and nobody drives "
                "without it. Start the bridge again; if it happens anew, look whether something on this PC (an "
                "antivirus program?) ends it."
            ) from error

    def _lose(self) -> None:
        """Be the guard of a guard: hold the controls neutral for a while, and give them back."""
        self._lost = True
        if self._direct is not None:
            self._direct.neutral()
        # Opening a pad takes its time, and whoever drives must learn at once that he does not.
        threading.Thread(target=self._hold_alone, name="neutral").start()

    def _hold_alone(self) -> None:
        try:
            self._backend.open()
        except BackendUnavailable as error:
            _log.error("the car's controls stay as they are, stop it by hand: %s", error)
            return
        time.sleep(self._hold_seconds)
        self._backend.close()


class _Guard:
    """The running process, whose answers are counted."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._said = self._answered = 0
        self._said_at = self._waiting_since = time.monotonic()
        threading.Thread(target=self._listen, name="guard", daemon=True).start()

    @property
    def still(self) -> float:
        """For how long nothing was said to it, s."""
        return time.monotonic() - self._said_at

    @property
    def gone(self) -> bool:
        """Whether it has ended; one that hangs is ended by asking."""
        if self._said > self._answered and time.monotonic() - self._waiting_since > ANSWER_SECONDS:
            self.process.kill()
            return True
        return self.process.poll() is not None

    def say(self, message: bytes) -> None:
        """Send it, without waiting; raises OSError when the guard has ended, or hangs (it is ended then)."""
        now = time.monotonic()
        if self._said == self._answered or now - self._said_at > HEARTBEAT_SECONDS:
            # Nothing was to be answered, or we stood still ourselves and have not read what it answered.
            self._waiting_since = now
        elif now - self._waiting_since > ANSWER_SECONDS:
            self.process.kill()
            raise TimeoutError
        self._said_at = now
        if self._said - self._answered >= _MOST_UNANSWERED:
            # It hangs, which is known soon, or is a second's worth of commands behind: a later one will do.
            return
        self._said += 1
        assert self.process.stdin is not None
        # Unbuffered: one small write is in the pipe as a whole or not at all.
        self.process.stdin.write(message)

    def end(self) -> None:
        """Tell it that the bridge has ended; it holds the controls a while longer and nobody waits for that."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End it at once; the controls stay as they are."""
        self.end()
        self.process.kill()
        self.process.wait()

    def _listen(self) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        with stdout:
            while answers := stdout.read(4096):
                self._answered += len(answers)
                self._waiting_since = time.monotonic()
        self.process.wait()


def _started(name: str, hold_seconds: float) -> "subprocess.Popen[bytes]":
    """A guard that is ready; raises BackendUnavailable with what it said instead."""
    import_folder = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(part for part in (import_folder, os.environ.get("PYTHONPATH")) if part)
    # A session (a process group) of its own: Ctrl-C in the terminal is not meant for it.
    if sys.platform == "win32":
        flags, session = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW, False
    else:
        flags, session = 0, True
    try:
        guard = subprocess.Popen(
            [sys.executable, "-m", "bridge.assetto_corsa.controls.guard", name, str(hold_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=session,
            creationflags=flags,
        )
    except OSError as error:
        raise BackendUnavailable(
            f"the process that guards the controls cannot be started ({error}), and nobody drives without it. See that "
            f"nothing on this PC (an antivirus program?) forbids {sys.executable} and that it is not short of memory "
            "or processes, then start the bridge again."
        ) from error
    answer = _first_line(guard)
    if answer == READY:
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
    """What it says first, if it is not READY with all that follows; empty when it says nothing in time."""
    said: list[bytes] = []
    stdout = guard.stdout
    assert stdout is not None

    def read() -> None:
        line = stdout.readline()
        said.append(line if line.strip() == READY.encode() else line + stdout.read())

    # Pipes cannot be waited for with a time limit on Windows, threads can.
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(_START_SECONDS)
    return b"".join(said).decode("utf-8", errors="replace").strip()

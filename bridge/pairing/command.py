"""The pairing string from a command, for a run whose address changes with each instance.

Without an Elastic IP a replacement has another address, and only the run's owner can look it up (`make pair` prints
it). The command is the user's own and runs in a shell; what it prints is a secret and is shown nowhere. One that takes
too long, or that nobody waits for any more, is ended with all that it started.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from wire.pairing import Pairing, PairingError, parse_pairing

COMMAND_SECONDS = 60.0
_SHOWN = 300
_LOOK_SECONDS = 0.2
_GROUP = None if sys.platform == "win32" else 0
"""A group of its own, which can be ended whole (Windows ends trees): the shell alone would leave its children."""


class NoAnswer(PairingError):
    """The command has not answered yet, as one that waits for an instance does; the next call may."""


def look_up_pairing(command: str, allow_plain: bool = False, stop: threading.Event | None = None) -> Pairing:
    """The pairing that `command` prints on standard output, in its last line.

    Raises:
        NoAnswer: it takes longer than COMMAND_SECONDS, or `stop` was set meanwhile.
        PairingError: it fails, or prints something else.
    """
    with subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=_GROUP,
    ) as process:
        try:
            out, err = _answer(process, stop)
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        raise PairingError(
            f"The pairing command ended with exit code {process.returncode}; it said: {_shown(err) or 'nothing'}"
        )
    lines = out.decode(errors="replace").split()
    return parse_pairing(lines[-1] if lines else "", allow_plain)


def _answer(process: "subprocess.Popen[bytes]", stop: threading.Event | None) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + COMMAND_SECONDS
    while True:
        try:
            return process.communicate(timeout=_LOOK_SECONDS)
        except subprocess.TimeoutExpired as waited:
            if stop is not None and stop.is_set():
                raise NoAnswer("Stopped while the pairing command was at work.") from None
            if time.monotonic() > deadline:
                raise NoAnswer(
                    f"The pairing command gave no answer within {COMMAND_SECONDS:g} s; it said: "
                    f"{_shown(waited.stderr) or 'nothing'}"
                ) from None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command with all that it started, also where the shell itself has ended already."""
    if sys.platform == "win32":
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _shown(said: bytes | None) -> str:
    return (said or b"").decode(errors="replace").strip()[-_SHOWN:]

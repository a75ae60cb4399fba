"""Several processes that live and end together. It promises that none of them outlives the crew, whether it ends by
itself, by an error or by SIGKILL (each hangs on a leash, see leash.py), and that one which ends early is noticed with
its last words. What the processes say goes to a log file each.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from runtime.logs import fields, printable
from scripts.processes.leash import GRACE_SECONDS

LAST_WORDS = 8
"""Lines of a log that are shown when its process has ended early."""
_LINE_START, _LINE_END = 160, 240
"""Signs of a long line that are shown: where a traceback is one line, what happened stands at its end."""

_log = logging.getLogger(__name__)


class EndedEarly(Exception):
    """A process of the crew is gone; the text says which, how, and its last words."""


class Crew:
    """Starts modules as processes, in the order in which they need each other, and ends them in reverse."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> int:
        """Start `python -m module arguments…`; `environment` comes on top of ours. Secrets belong there.

        Returns the process's id.
        """
        command = [sys.executable, "-m", "scripts.processes.leash", module, *arguments]
        # A session of its own: a Ctrl-C on the terminal reaches us alone, and we end the others in order.
        with self.log_of(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environment or {}),
                start_new_session=os.name != "nt",
                creationflags=0x200 if os.name == "nt" else 0,  # CREATE_NEW_PROCESS_GROUP
            )
        self._processes[name] = process
        _log.info("process started", extra=fields(name=name, pid=process.pid))
        return process.pid

    def log_of(self, name: str) -> Path:
        """Where the process of that name writes."""
        return self._logs / f"{name}.log"

    @property
    def names(self) -> list[str]:
        """Of those that were started and not ended."""
        return list(self._processes)

    def gone(self) -> dict[str, int]:
        """Exit codes of those that ended by themselves, by name."""
        return {name: process.returncode for name, process in self._processes.items() if process.poll() is not None}

    def check(self) -> None:
        """Raise EndedEarly when one that was started is gone."""
        for name, code in self.gone().items():
            raise self.ended_early(name, code)

    def ended_early(self, name: str, code: int) -> EndedEarly:
        """The error that tells of it."""
        return EndedEarly(
            f"The {name} ended with exit code {code}; it should have gone on. "
            f"The end of its log {self.log_of(name)}:\n" + "\n".join(self.last_words(name))
        )

    def last_words(self, name: str, lines: int = LAST_WORDS) -> list[str]:
        """The end of a process's log, as a person reads it: without the middle of long lines."""
        said = self.log_of(name).read_text(encoding="utf-8", errors="replace").split("\n")
        return [_shortened(printable(line)) for line in said if line][-lines:]

    def all_last_words(self) -> str:
        """What each process said last, a line each."""
        words = ((name, self.last_words(name, 1)) for name in self._processes)
        return "\n".join(f"  {name}: {said[0] if said else '(nothing yet)'}" for name, said in words)

    def end(self, name: str) -> int:
        """End one process in order, by force after a deadline; return its exit code."""
        process = self._processes.pop(name)
        assert process.stdin is not None
        process.stdin.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS + 2.0)
        finally:
            self._kill(process)
        code = process.wait()
        _log.info("process ended", extra=fields(name=name, code=code))
        return code

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            return
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        """End every process, the last started first, each in order; an interruption ends all at once."""
        if isinstance(error, Exception):
            # Before the end of each, which takes a while, and not only after it.
            reason = str(error).split("\n")[0]
            _log.error("something went wrong, so every process ends", extra=fields(reason=reason))
        try:
            while self._processes and kind is not KeyboardInterrupt:
                self.end(next(reversed(self._processes)))
        finally:
            for process in self._processes.values():
                self._kill(process)
                process.wait()


def _shortened(line: str) -> str:
    return line if len(line) <= _LINE_START + _LINE_END else f"{line[:_LINE_START]} … {line[-_LINE_END:]}"

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

from runtime.logs import fields
from scripts.demo.leash import GRACE_SECONDS

LAST_WORDS = 8
"""Lines of a log that are shown when its process has ended early."""

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
        command = [sys.executable, "-m", "scripts.demo.leash", module, *arguments]
        # A session of its own: a Ctrl-C on the terminal reaches us alone, and we end the others in order.
        with self.log_of(name).open("wb") as log:
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

    def check(self) -> None:
        """Raise EndedEarly when one that was started is gone."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                lines = self.log_of(name).read_text(encoding="utf-8", errors="replace").splitlines()
                raise EndedEarly(
                    f"The {name} ended with exit code {process.returncode}; it should have gone on. "
                    f"The end of its log {self.log_of(name)}:\n" + "\n".join(lines[-LAST_WORDS:])
                )

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

    def __exit__(self, *_: object) -> None:
        """End every process, the last started first, each in order; an interruption ends all at once."""
        try:
            while self._processes:
                self.end(next(reversed(self._processes)))
        finally:
            for process in self._processes.values():
                self._kill(process)

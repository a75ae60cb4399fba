"""Notices that an environment's own code does not come back, says where it is, and breaks it off when all is to end.

It does not end a drive by itself: a step may take its time. What never comes back to Python, deep in a library, can be
told but not broken off; nothing that was committed is lost when such a process is killed.
"""

import logging
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.logs import fields

SAY_SECONDS: Final = {"step": 10.0, "reset": 60.0}
"""Who has not come back for so long hangs, as it seems; games take their time to begin an episode."""
BREAK_OFF_SECONDS: Final = 10.0
"""When the drive is to end, code that has not come back for so long is not waited for any more."""
_LOOK_SECONDS: Final = 0.5
_LAST_FRAMES: Final = 3

_log = logging.getLogger(__name__)


class Watch:
    """Watches the calls of the environment `name`, all made by one thread."""

    def __init__(self, name: str) -> None:
        self.broke_off = False
        self._name, self._lock = name, threading.Lock()
        self._call: tuple[str, float] | None = None
        self._said: tuple[str, float] | None = None
        self._thread = threading.current_thread()

    @contextmanager
    def watching(self, stop: threading.Event) -> Iterator[None]:
        """Watch, while this thread drives; `stop` says that all is to end."""
        self._thread, ended = threading.current_thread(), threading.Event()

        def watch() -> None:
            while not ended.wait(_LOOK_SECONDS):
                self._look(stop)

        watcher = threading.Thread(target=watch, name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def began(self, what: str) -> None:
        """The environment is called now, for a step or a reset."""
        self._call = what, time.monotonic()

    def ended(self) -> None:
        """It has come back."""
        # Nobody is broken off after this.
        with self._lock:
            self._call = None

    def _look(self, stop: threading.Event) -> None:
        call = self._call
        if call is None:
            return
        lasted = time.monotonic() - call[1]
        if lasted > SAY_SECONDS[call[0]] and self._said is not call:
            self._said = call
            _log.warning(
                f"the environment has not come back from {call[0]} for {lasted:.0f} s; it is waited for, and Ctrl-C "
                "ends the drive with all that was driven",
                extra=fields(environment=self._name, at=self._place()),
            )
        if stop.is_set() and lasted > BREAK_OFF_SECONDS and self._thread is threading.main_thread():
            with self._lock:
                if self._call is call:
                    self.broke_off = True
                    self._interrupt()

    def _place(self) -> str:
        """Where the driving thread is: the last lines of the environment's code."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        lines = traceback.extract_stack(frame)[-_LAST_FRAMES:]
        return " | ".join(f"{Path(at.filename).name}:{at.lineno} in {at.name}: {at.line}" for at in lines)

    def _interrupt(self) -> None:
        """A KeyboardInterrupt in the main thread, as a second Ctrl-C would raise it, also out of a blocking call."""
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGINT)
        else:
            signal.pthread_kill(self._thread.ident or 0, signal.SIGINT)

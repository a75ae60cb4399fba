"""Reads a game's pages on through what passes by itself: a page in motion, a game that is away for some seconds.

Promises that a game which is not there to begin with is told at once, and one that was seen and is gone after PATIENCE.
It is for those who only look; whoever drives has to let go at once (car.py).
"""

import time
from collections.abc import Callable
from typing import TypeVar

from bridge.assetto_corsa.reading.layout import Static
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages, PageUnsteady, Snapshot

PATIENCE = 5.0
"""s without a readable page, until the game is said to be gone; a session that is started anew takes less."""

_T = TypeVar("_T")


class PatientPages:
    """`GamePages` for whoever can do without a snapshot now and then; `now` is a monotonic clock, s."""

    def __init__(self, pages: GamePages, now: Callable[[], float] = time.perf_counter) -> None:
        self._pages, self._now, self._seen = pages, now, False
        self._failing_since: float | None = None

    def read(self) -> Snapshot | None:
        """A snapshot; None where there is none just now, and the next call may have one.

        Raises:
            GameError: as `GamePages.read` does, for a game that was never there or has been away for PATIENCE.
        """
        return self._tried(self._pages.read)

    def static(self) -> Static | None:
        """The page of the session, in the same way."""
        return self._tried(self._pages.static)

    def _tried(self, read: Callable[[], _T]) -> _T | None:
        try:
            found = read()
        except GameError as error:
            now = self._now()
            self._failing_since = now if self._failing_since is None else self._failing_since
            may_pass = self._seen or isinstance(error, PageUnsteady)
            if not may_pass or now - self._failing_since >= PATIENCE:
                raise
            return None
        self._seen, self._failing_since = True, None
        return found

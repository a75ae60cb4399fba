"""Waiting for the cloud with a deadline: looks again every few seconds and says on standard error what has changed."""

from __future__ import annotations

import sys
import time

from runtime.progress import duration

POLL_SECONDS = 3.0


class Wait:
    """A wait of at most `minutes`; each new state is one line with the time since the beginning."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._began = time.monotonic()
        self._said = ""

    @property
    def seconds(self) -> float:
        """Time since the beginning, s."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Tell where things stand, unless that was the last thing told."""
        if text != self._said:
            self._said = text
            print(f"{duration(self.seconds):>7}  {text}", file=sys.stderr, flush=True)

    def again(self, seconds: float | None = None) -> bool:
        """Sleep until it is time to look again; False, at once, when the deadline is over."""
        left = self.minutes * 60.0 - self.seconds
        if left <= 0:
            return False
        time.sleep(min(left, POLL_SECONDS if seconds is None else seconds))
        return True

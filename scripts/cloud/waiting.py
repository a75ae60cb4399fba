"""Waiting for the cloud with a deadline: looks again every few seconds and says on standard error what has changed."""

import sys
import time

from runtime.logs import printable
from runtime.progress import duration

POLL_SECONDS = 3.0


class Wait:
    """A wait of at most `minutes`; each new state is one line with the time since the beginning."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._began = time.monotonic()
        self._said = ""

    def say(self, text: str) -> None:
        """Tell where things stand, unless that was the last thing told."""
        if text != self._said:
            self._said = text
            print(f"{duration(time.monotonic() - self._began):>7}  {printable(text)}", file=sys.stderr, flush=True)

    def again(self, seconds: float | None = None) -> bool:
        """Sleep until it is time to look again; False, at once, when the deadline is over."""
        left = self._began + self.minutes * 60.0 - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, POLL_SECONDS if seconds is None else seconds))
        return True

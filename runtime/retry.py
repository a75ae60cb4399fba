"""The one policy of the house for what fails and may succeed later: wait twice as long each time, up to a cap.

What is worth another try, and for how long, is the caller's to say. Who must do more between two attempts than wait
takes the waiting times alone from `Backoff`.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from runtime.logs import fields

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class GaveUp(Exception):
    """Somebody asked to stop between two attempts."""


class Backoff:
    """Waiting times between attempts: doubling from `first` to `cap` seconds, each with up to a quarter of jitter."""

    def __init__(self, first: float = 0.5, cap: float = 30.0) -> None:
        self._first, self._cap, self._next = first, cap, first

    def seconds(self) -> float:
        """How long to wait before the next attempt."""
        delay = self._next
        self._next = min(self._cap, delay * 2)
        # Spreads the attempts of processes that lost the same server at the same moment.
        return delay * random.uniform(0.75, 1.0)

    def reset(self) -> None:
        """An attempt succeeded: begin small again."""
        self._next = self._first


def retry(
    attempt: Callable[[], _Result],
    errors: type[Exception] | tuple[type[Exception], ...],
    seconds: float,
    doing: str = "trying again",
    wait: Callable[[float], object] = time.sleep,
) -> _Result:
    """What `attempt` returns, tried again after one of `errors` until `seconds` are over; then the last one is raised.

    Before each wait the log says what one is `doing`, and the error, which is a sentence. `wait` waits so many seconds
    and says whether to give up instead of trying again; then GaveUp is raised.
    """
    backoff, deadline = Backoff(), time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except errors as error:
            pause = backoff.seconds()
            left = deadline - time.monotonic()
            if pause > left:
                raise
            told = fields(reason=str(error), retry_in_s=round(pause, 1), giving_up_in_s=round(left))
            _log.warning(doing, extra=told)
            if wait(pause):
                raise GaveUp(f"Stopped while {doing}.") from None

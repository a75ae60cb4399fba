"""Waiting for a condition with a deadline, so that no test sleeps for a fixed time or waits for ever."""

import time
from collections.abc import Callable

PATIENCE = 4.0
"""How much longer than on a machine of its own a test may have to wait on one that is busy with others."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30.0, every: float = 0.005) -> float:
    """Return after how many seconds `condition` held; AssertionError that names `what` when it never did.

    `seconds` is what it takes at most where nothing else runs. It is looked at every `every` seconds: less often where
    a look costs something.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE * seconds:
            raise AssertionError(f"waited {PATIENCE * seconds:g} s in vain: {what}")
        time.sleep(every)
    return time.monotonic() - began

"""Clocks that pace a driving loop: one that lets simulated time fly, one that keeps to the wall clock.

The real-time clock corrects its drift (deadlines are multiples of the period from the last start, so that small
delays do not add up) and tells whether a step took as long as it should. It does not catch up: after a step that took
another time a whole period begins, since a real game has gone on meanwhile and a short step would be as wrong as the
long one before it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Clock:
    """Lets one control period pass."""

    def start(self) -> None:
        """Begin a period now; called after a reset, whose duration counts for nobody."""

    def tick(self) -> None:
        """Wait for the end of the running period."""

    def off_period(self, seconds: float) -> bool:  # noqa: ARG002 - simulated time is never off
        """Whether a step that took so long, s, did not take a period; if so, a period begins now."""
        return False


class SimulatedClock(Clock):
    """As fast as it goes: time passes in the simulator alone, no step is ever off its period."""


@dataclass
class RealTimeClock(Clock):
    """A drift-correcting clock of fixed rate.

    Args:
        period: control period in s.
        tolerance: by how much a step may be longer or shorter than the period, s, before it counts as off its period.
        now, sleep: the time source (monotonic, s) and the wait; others than the default serve tests.
    """

    period: float
    tolerance: float = 0.002
    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    deadline: float = field(default=float("nan"), init=False)
    """When the running period ends, on the clock `now`; not a number before the first."""

    def __post_init__(self) -> None:
        if not self.period > 0.0:
            raise ValueError(f"the period of a clock is more than 0 s, not {self.period}")

    def start(self) -> None:
        """Set the first deadline one period from now."""
        self.deadline = self.now() + self.period

    def tick(self) -> None:
        """Sleep until the deadline, at least, and set the next one."""
        if self.deadline != self.deadline:
            self.start()
        remaining = self.deadline - self.now()
        if remaining > 0.0:
            self.sleep(remaining)
        self.deadline += self.period

    def off_period(self, seconds: float) -> bool:
        """Whether `seconds` is not the period, too little as well as too much; if so, a period begins now."""
        if abs(seconds - self.period) <= self.tolerance:
            return False
        self.start()
        return True

"""Clocks that pace a driving loop: one that lets simulated time fly, one that keeps to the wall clock.

The real-time clock corrects its drift (deadlines are multiples of the period from the first tick, so that a
late step does not push all later ones) and marks a step as late. It does not catch up: periods that were
missed are skipped, since a real game has gone on meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """Lets one control period pass."""

    def start(self) -> None:
        """Begin a period now; called after a reset, whose duration counts for nobody."""

    def tick(self) -> bool:
        """Wait for the end of the running period; True when it was already over (the step is late)."""


class SimulatedClock:
    """As fast as it goes: time passes in the simulator alone, no step is ever late."""

    def start(self) -> None:
        """Nothing to begin."""

    def tick(self) -> bool:
        """Return False at once."""
        return False


@dataclass
class RealTimeClock:
    """A drift-correcting clock of fixed rate.

    Args:
        period: control period in s.
        tolerance: how much later than its deadline a step may end, in s, before it counts as late.
        now, sleep: the time source (monotonic, s) and the wait; others than the default serve tests.
    """

    period: float
    tolerance: float = 0.002
    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep
    late_ticks: int = field(default=0, init=False)
    _deadline: float = field(default=float("nan"), init=False)

    def __post_init__(self) -> None:
        if not self.period > 0.0:
            raise ValueError(f"the period of a clock is more than 0 s, not {self.period}")

    @property
    def deadline(self) -> float:
        """When the running period ends, on the clock `now`; not a number before the first."""
        return self._deadline

    def start(self) -> None:
        """Set the first deadline one period from now."""
        self._deadline = self.now() + self.period

    def tick(self) -> bool:
        """Sleep until the deadline and set the next one; True when the deadline had passed already."""
        if self._deadline != self._deadline:
            self.start()
        remaining = self._deadline - self.now()
        late = remaining < -self.tolerance
        if remaining > 0.0:
            self.sleep(remaining)
        self.late_ticks += late
        behind = self.now() - self._deadline
        missed_periods = max(0, int(behind / self.period))
        self._deadline += (1 + missed_periods) * self.period
        return late

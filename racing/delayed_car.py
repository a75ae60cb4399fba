"""Simulated cars whose controls come late, as over the link that they will be driven by from afar.

A policy that learns with one has learned to act for a later moment. What is seen is not late, and what was chosen is
what the task is told: only the car gets it later, at the control step after its arrival.
"""

from collections import deque
from dataclasses import fields

import numpy as np

from racing.car import BoolArray, Car, CarState, Controls
from racing.link_model import LinkModel, SimulatedLink


class DelayedCar:
    """Implements the Car protocol for `car`, in simulated time; `link` is of the way there and back together."""

    def __init__(self, car: Car, link: LinkModel, seed: int = 0) -> None:
        self.count = car.count
        self._car, self._link = car, SimulatedLink(link, seed)
        self._now = 0.0
        self._coming: deque[tuple[float, Controls]] = deque()

    def read(self) -> CarState:
        """The present state, not a late one."""
        return self._car.read()

    def apply(self, controls: Controls) -> None:
        """Send these; those that have arrived by now, the newest, are held until the next call."""
        mine = Controls(*(np.array(getattr(controls, one.name), np.float64) for one in fields(Controls)))
        self._coming.append((self._link.arrival(self._now), mine))
        # What is due at a step may lie a rounding error beyond it.
        arrived = [late for at, late in self._coming if at <= self._now + 1e-6]
        if arrived:
            for _ in arrived:
                self._coming.popleft()
            self._car.apply(arrived[-1])

    def advance(self, seconds: float) -> None:
        """Let time pass, for the link too."""
        self._car.advance(seconds)
        self._now += seconds

    def reset(self, which: BoolArray) -> None:
        """Start these cars afresh; what is on its way to them does nothing any more."""
        self._car.reset(which)
        for _, controls in self._coming:
            for one in fields(Controls):
                getattr(controls, one.name)[which] = 0.0

    def close(self) -> None:
        """Release the car."""
        self._car.close()

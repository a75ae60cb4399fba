"""Speeds a car up from its start, as the first steps of its episode: the policy takes over at speed, at a random place.

Promises actions of the task, so that what is rolled is experience like any other step (of nobody's version, since no
policy chose it) and costs nothing of a game's real time; to learn from another driver's steps off-policy methods can,
and a policy that starts at speed learns of bends before it learns to pull away ("jump-start", Uchendu et al. 2022). It
ends a roll where the road ahead asks for it. It moves no car and knows no clock.
"""

from collections.abc import Callable

import numpy as np

from bridge.assetto_corsa.starts.starts import Start, Starts
from racing.car import CarState
from racing.task import Float32Array

ROLL_SECONDS = 8.0
"""A car that has not reached its speed after so long is as fast as it gets."""


class RollingStart:
    """Decides who drives as an episode begins; `latest` is None where the car was not teleported: it begins at rest."""

    def __init__(self, starts: Starts, latest: Callable[[], Start | None]) -> None:
        self._starts, self._latest = starts, latest
        self._speed = self._until = 0.0

    def begin(self, state: CarState) -> None:
        """An episode begins at `state` of one car."""
        start = self._latest()
        self._speed = 0.0 if start is None else start.speed
        self._until = float(state.time[0]) + ROLL_SECONDS

    def action(self, state: CarState) -> Float32Array | None:
        """(1, 2) what speeds the car up; None once the policy drives, until the next `begin`."""
        if self._speed == 0.0:
            return None
        speed = float(np.hypot(*state.velocity[0]))
        position = float(state.position[0, 0]), float(state.position[0, 1])
        if speed >= min(self._speed, self._starts.allowed(position)) or float(state.time[0]) >= self._until:
            self._speed = 0.0
            return None
        steer, throttle, brake = self._starts.along(position, float(state.heading[0]), speed)
        return np.array([[steer, throttle - brake]], np.float32)

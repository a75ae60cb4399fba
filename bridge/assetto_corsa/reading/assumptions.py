"""Judges what state.py assumes about the pages by what a driven minute of them shows; for the doctor and for reports.

Promises one finding for each assumption that snapshots can judge: it holds, it is contradicted, or the drive did not
show it (a car that never turned says nothing about signs). Bounded memory; it changes nothing by itself.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bridge.assetto_corsa.reading.axes import ground_heading, plane_vector
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.pages import Snapshot
from bridge.assetto_corsa.reading.state import FULL_LOCK, STANDARD_GRAVITY
from racing.car import BoolArray, FloatArray
from racing.closed_line import wrapped

MOST_SAMPLES = 20_000
"""The latest so many packets are judged: a minute at 333 Hz."""
_FAST = 10.0
"""m/s from which a car goes about where it points."""
_TURNING = 0.15
"""rad/s from which a car turns for sure."""
_LEAST = 30
"""Samples from which a finding is more than chance."""
_STRETCH_SECONDS = 1.5
"""What the lap's clock is compared over: a picture at 30 a second is 2 % of it."""
_STANDS_SECONDS = 0.25
"""A lap's clock that has not moved for so long stands still, or the game hangs."""


class Judgement(StrEnum):
    """What a drive says about an assumption."""

    HOLDS = "holds"
    CONTRADICTED = "contradicted"
    NOT_SEEN = "not seen"


@dataclass(frozen=True, slots=True)
class JudgedAssumption:
    """About the assumption of this name: the verdict, and what was measured, in words."""

    name: str
    verdict: Judgement
    measured: str


class AssumptionCheck:
    """Collects snapshots while somebody drives, by hand or not, and judges them."""

    def __init__(self) -> None:
        self._rows: deque[tuple[float, ...]] = deque(maxlen=MOST_SAMPLES)

    def add(self, snapshot: Snapshot) -> None:
        """Take a snapshot in; duplicates and what is not LIVE do not count."""
        if snapshot.duplicate or snapshot.status is not Status.LIVE:
            return
        physics, car = snapshot.physics, snapshot.car
        valid = -1 if car is None else 4 - (car.wheels_valid_surface & 15).bit_count()
        self._rows.append(
            (
                snapshot.read_at,
                *plane_vector(physics.velocity[0], physics.velocity[2]),
                float(ground_heading(physics.heading)),
                physics.localAngularVel[1],
                float(plane_vector(physics.accG[0], physics.accG[2])[1]) * STANDARD_GRAVITY,
                -physics.steerAngle / FULL_LOCK,
                physics.numberOfTyresOut,
                valid,
                snapshot.graphics.iCurrentTime / 1000.0,
            )
        )

    def findings(self) -> tuple[JudgedAssumption, ...]:
        """What the snapshots so far say."""
        rows = np.array(self._rows, np.float64).reshape(-1, 10)
        time, along, across, heading, yaw_rate, acceleration, steer, out, invalid, lap_time = rows.T
        speed = np.hypot(along, across)
        turning = (speed > _FAST) & (np.abs(yaw_rate) > _TURNING)
        course = np.arctan2(across, along)
        return (
            _small("heading", np.abs(wrapped(course - heading))[speed > _FAST], 0.1, "rad between nose and course"),
            _turns(time, heading, yaw_rate),
            _like("acceleration", acceleration, speed * yaw_rate, turning, "of speed times yaw rate"),
            _steers(steer, yaw_rate, turning),
            _small("wheels out", np.abs(out - invalid)[invalid >= 0], 0.5, "wheels between the game's count and CSP's"),
            _keeps_time(time, lap_time),
        )


def _judged(name: str, holds: bool, measured: str) -> JudgedAssumption:
    return JudgedAssumption(name, Judgement.HOLDS if holds else Judgement.CONTRADICTED, measured)


def _small(name: str, errors: FloatArray, most: float, unit: str) -> JudgedAssumption:
    if len(errors) < _LEAST:
        return JudgedAssumption(name, Judgement.NOT_SEEN, "the drive did not show it")
    median = float(np.median(errors))
    return _judged(name, median <= most, f"{median:.3f} {unit} in the median")


def _like(name: str, values: FloatArray, expected: FloatArray, where: BoolArray, unit: str) -> JudgedAssumption:
    """Whether `values` are about `expected`: the slope of the line through 0, which a wrong sign or unit turns."""
    if where.sum() < _LEAST:
        return JudgedAssumption(name, Judgement.NOT_SEEN, "no bends were driven")
    slope = float(values[where] @ expected[where] / (expected[where] @ expected[where]))
    return _judged(name, 0.6 < slope < 1.6, f"{slope:.2f} {unit}")


def _turns(time: FloatArray, heading: FloatArray, yaw_rate: FloatArray) -> JudgedAssumption:
    passed, between = np.diff(time), 0.5 * (yaw_rate[1:] + yaw_rate[:-1])
    close = (passed > 0.0) & (passed < 0.2) & (np.abs(between) > _TURNING)
    rate = wrapped(np.diff(heading)) / np.maximum(passed, 1e-9)
    return _like("yaw rate", rate, between, close, "of localAngularVel is what the heading turns by")


def _steers(steer: FloatArray, yaw_rate: FloatArray, turning: BoolArray) -> JudgedAssumption:
    if len(steer) and (most := float(np.abs(steer).max())) > 1.05:
        return _judged("steering", False, f"steerAngle goes to {most:.2f} of what is taken for full lock")
    if turning.sum() < _LEAST:
        return JudgedAssumption("steering", Judgement.NOT_SEEN, "no bends were driven")
    share = float(np.mean(steer[turning] * yaw_rate[turning] > 0.0))
    return _judged("steering", share > 0.6, f"{share:.0%} of the bends were steered into")


def _keeps_time(time: FloatArray, lap_time: FloatArray) -> JudgedAssumption:
    """Of stretches in which the lap's clock runs; it begins anew at the line, and stands still in the pits.

    The clock moves once a picture, so a stretch goes from one of its moves to another, and is many pictures long.
    """
    paces = []
    first = before = None
    for at in np.flatnonzero(np.diff(lap_time)) + 1:
        if first is None or lap_time[at] < lap_time[before] or time[at] - time[before] > _STANDS_SECONDS:
            first = at
        elif (passed := time[at] - time[first]) >= _STRETCH_SECONDS:
            paces.append(float((lap_time[at] - lap_time[first]) / passed))
            first = at
        before = at
    if not paces:
        return JudgedAssumption("time", Judgement.NOT_SEEN, "the lap's clock did not run")
    # The median, since a game that hangs for a moment loses time without running at another pace.
    pace = float(np.median(paces))
    return _judged("time", 0.95 < pace < 1.05, f"the game's clock runs at {pace:.2f} of ours")

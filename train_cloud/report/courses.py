"""Laps beside each other: the policy's, a human's and the reference driver's, each by the place along the lap.

Traces come from a document, so they are checked before anything is drawn of them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from racing.car import CarState, FloatArray, IntArray
from racing.evaluation import drive_laps, reference_actions
from racing.lap import About, Lap, LapCutter
from racing.reference_driver import ReferenceDriver
from racing.sectors import SECTORS
from racing.task import Float32Array, TaskConfig
from racing.track import Track
from train_cloud.lap_table import LapTrace

PLACES: Final = 601
"""Places along the lap at which laps are compared, the line at both ends."""
STRETCHES: Final = 12
_FLYING: Final = 2
"""Number of the reference driver's lap that is taken."""
_LONGEST_LAP: Final = 3_600.0
_LONGEST_METRES: Final = 60_000.0
_GREATEST: Final = 1e6


class NotALap(ValueError):
    """What a trace holds is no lap; the text says why."""


class _Driven(Exception):
    """The lap that was wanted is there: no more need be driven."""

    def __init__(self, lap: Lap) -> None:
        super().__init__()
        self.lap = lap


class _TooSlow(Exception):
    """There is no time left to drive on."""


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A lap at PLACES places, evenly spaced in `metres` from line to line; every array is (PLACES,).

    Attributes: as LapTrace has them; `steps` and `version` are None of what no policy drove.
    """

    name: str
    time: float
    metres: FloatArray
    seconds: FloatArray
    speed: FloatArray
    steer: FloatArray
    pedals: FloatArray
    gear: IntArray
    gap: FloatArray
    version: int | None = None
    steps: int | None = None

    @property
    def sectors(self) -> list[float]:
        """Time in each third of the lap, s."""
        return [float(one) for one in np.diff(self.seconds[:: (PLACES - 1) // SECTORS])]


def course_of_trace(name: str, trace: LapTrace, length: float | None) -> Course:
    """The lap of a trace, on a track of `length` m where one is known. Raises NotALap."""
    columns = {one: np.array(getattr(trace, one), np.float64) for one in _COLUMNS}
    metres, seconds = columns["metres"], columns["seconds"]
    if len(metres) < 8 or any(values.shape != metres.shape for values in columns.values()):
        raise NotALap("its columns are not equally long, or too short")
    if not (all(np.abs(values).max() < _GREATEST for values in columns.values()) and 0.0 < trace.time < _LONGEST_LAP):
        raise NotALap("it holds numbers that are none")
    if np.diff(seconds).min() < 0.0 or not np.ptp(seconds) > 0.0 or not 1.0 < np.ptp(metres) < _LONGEST_METRES:
        raise NotALap("its times or places do not go on")
    driven = np.maximum.accumulate(metres - metres[0])
    whole = float(driven[-1]) if length is None else length
    scaled = driven * (whole / driven[-1])
    elapsed = (seconds - seconds[0]) * (trace.time / (seconds[-1] - seconds[0]))
    is_human = trace.version == 0
    return _course(
        name,
        trace.time,
        scaled,
        columns | {"seconds": elapsed},
        None if is_human else trace.version,
        None if is_human else trace.steps,
    )


def course_of_lap(name: str, lap: Lap) -> Course:
    """The same of a lap with all that a car says."""
    assert lap.gap is not None
    columns = {name: getattr(lap, name) for name in ("seconds", "speed", "steer", "gap")}
    columns |= {"pedals": lap.throttle - lap.brake, "gear": lap.gear.astype(np.float64)}
    return _course(name, lap.time, np.maximum.accumulate(lap.metres), columns)


def reference_lap(track: Track, config: TaskConfig, within: float = float("inf")) -> Lap | None:
    """A flying lap of the reference driver in the simulator; None where it does not come round, or not `within` s."""
    deadline = time.monotonic() + within
    drive = reference_actions(ReferenceDriver(track))
    cutter = LapCutter(track, About("reference driver", datetime.now(UTC), car="simulated GT3"))

    def act(observation: Float32Array, state: CarState) -> Float32Array:
        # The first lap begins slowly. Of the last no state is seen behind the line, so that it is cut in the third.
        if (lap := cutter.add(state)) is not None and cutter.completed == _FLYING:
            raise _Driven(lap)
        if time.monotonic() > deadline:
            raise _TooSlow
        return drive(observation, state)

    try:
        drive_laps(act, track, _FLYING + 1, config)
    except _Driven as driven:
        return driven.lap
    except _TooSlow:
        return None
    return None


def behind(course: Course, other: Course) -> FloatArray:
    """How much later (PLACES,), s, `course` is than `other` at each place."""
    return np.asarray(course.seconds - other.seconds)


def where_lost(course: Course, other: Course, most: int = 3) -> list[tuple[float, float, float]]:
    """Where `course` loses most to `other`, of STRETCHES equal parts of the lap: (from m, to m, s), the worst first.

    What is less than a hundredth of a second is not worth a look.
    """
    borders = np.linspace(0, PLACES - 1, STRETCHES + 1).round().astype(np.int64)
    lost, places = np.diff(behind(course, other)[borders]), course.metres[borders]
    worst = [int(one) for one in np.argsort(-lost)[:most] if lost[one] >= 0.01]
    return [(float(places[one]), float(places[one + 1]), float(lost[one])) for one in worst]


_COLUMNS = ("seconds", "metres", "gap", "speed", "steer", "pedals", "gear")


def _course(
    name: str,
    time: float,
    metres: FloatArray,
    columns: Mapping[str, FloatArray],
    version: int | None = None,
    steps: int | None = None,
) -> Course:
    places = np.linspace(0.0, float(metres[-1]), PLACES)
    even = {one: np.interp(places, metres, columns[one]) for one in ("seconds", "speed", "steer", "pedals", "gap")}
    # A gear is held until the next, and never one between two.
    held = np.searchsorted(metres, places, "right").clip(1, len(metres)) - 1
    gear = np.clip(columns["gear"][held], -1, 20).round().astype(np.int64)
    return Course(name, time, places, gear=gear, version=version, steps=steps, **even)

"""One lap from line to line as arrays over time, and how laps are cut out of what a car did.

A lap begins and ends where the car crosses the start/finish line, s = 0 of its Track; both moments are interpolated
within the period in which they fall, so that lap times are finer than the rate at which the car was read. Promises SI
units, samples evenly spaced in time from the first crossing to the second, both included, and None for a quantity that
the source does not report. It reads and writes no files: lap_files.py does.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from racing.car import CarState, FloatArray, IntArray
from racing.recorded_car import PlayedCar
from racing.track import Track

LONGEST_LAP_SECONDS = 1800.0
"""A lap that takes longer is given up: twice around the longest circuits at a walk."""
_UNEVEN = 1e-3
"""s by which samples may miss their even spacing, as times do that somebody rounded to milliseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Lap:
    """One lap; every array is (T,), T >= 2, with samples evenly spaced in time. Raises ValueError for anything else.

    Attributes:
        name: what it is called, such as "lap 3".
        track, driver: their names, for people.
        begun: when the line was crossed, with its time zone.
        seconds: since the line, from 0 to the lap time.
        metres: along the centreline from the line, from 0 to the track's length.
        speed: m/s.
        throttle, brake: 0 to 1.
        steer: -1 to 1 of full lock, positive to the left.
        gear: -1 reverse, 0 neutral, 1 and up forward.
        engine_speed: rad/s.
        gap: m left of the centreline.
        x, y: m in the ground plane.
        acceleration_forward, acceleration_left: m/s^2, as an accelerometer reads them.
        yaw_rate: rad/s, positive to the left.
        car: its name; "" where nobody says.
        clean: never more than two wheels out, and nothing hit.
        steering_lock: angle of the steering wheel at steer = 1, rad.
    """

    name: str
    track: str
    driver: str
    begun: datetime
    seconds: FloatArray
    metres: FloatArray
    speed: FloatArray
    throttle: FloatArray
    brake: FloatArray
    steer: FloatArray
    gear: IntArray
    engine_speed: FloatArray | None = None
    gap: FloatArray | None = None
    x: FloatArray | None = None
    y: FloatArray | None = None
    acceleration_forward: FloatArray | None = None
    acceleration_left: FloatArray | None = None
    yaw_rate: FloatArray | None = None
    car: str = ""
    clean: bool = True
    steering_lock: float | None = None

    def __post_init__(self) -> None:
        count = len(self.seconds)
        for name, values in self.columns().items():
            if values.shape != (count,) or count < 2:
                raise ValueError(f"{name} of a lap is {values.shape}; it must be as long as seconds, and 2 at least")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of a lap holds a value that is not finite")
        even = np.linspace(0.0, self.time, count)
        if np.abs(self.seconds - even).max() > _UNEVEN or not (np.diff(self.seconds) > 0.0).all():
            raise ValueError("the samples of a lap must be evenly spaced in time, from 0 on")
        if self.begun.tzinfo is None:
            raise ValueError("begun of a lap needs a time zone")

    @property
    def time(self) -> float:
        """The lap time, s."""
        return float(self.seconds[-1])

    @property
    def rate(self) -> float:
        """Samples a second, Hz."""
        return (len(self.seconds) - 1) / self.time

    def columns(self) -> dict[str, FloatArray | IntArray]:
        """The arrays that are there, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@dataclass(frozen=True, slots=True)
class About:
    """What a lap's arrays do not say: see Lap. `begun` is when the car's time was 0."""

    driver: str
    begun: datetime
    car: str = ""
    steering_lock: float | None = None


class LapCutter:
    """Cuts the laps of one car on `track` out of its states, and remembers no more than the lap that is being driven.

    Attributes: completed, laps so far.
    """

    def __init__(self, track: Track, about: About) -> None:
        self._track, self._about = track, about
        self.completed = 0
        self._rows: list[dict[str, Any]] = []
        """From the last one before the line on; before the first crossing only the newest."""
        self._on_lap = False
        self._index: IntArray | None = None
        self._progress = 0.0
        """m from the line, or while no lap is driven the place along the centreline."""

    def add(self, state: CarState) -> Lap | None:
        """Take the next state of the car, N = 1; returns the lap that it completes, if it does.

        Raises ValueError for a state of several cars, or a time that does not go on.
        """
        at = self._track.project(state.position, self._index)
        self._index = at.index
        row = _row(state, float(at.gap[0]))
        if not self._rows:
            self._progress = float(at.s[0])
            self._rows = [row | {"metres": self._progress}]
            return None
        if row["time"] <= self._rows[-1]["time"]:
            raise ValueError("the time of a car's states must go on")
        length = self._track.length
        before = self._progress
        moved = (float(at.s[0]) - before + 0.5 * length) % length - 0.5 * length
        self._progress = before + moved
        self._rows.append(row | {"metres": self._progress})
        if not self._on_lap:
            self._rows = self._rows[-2:]
            if before < length <= self._progress:
                self._begin()
            else:
                self._progress = self._rows[-1]["metres"] = self._progress % length
            return None
        if row["time"] - self._rows[0]["time"] > LONGEST_LAP_SECONDS:
            self.interrupt()
        elif before < length <= self._progress:
            return self._complete()
        return None

    def interrupt(self) -> None:
        """What comes does not join what was: the lap that is being driven is none."""
        self._rows, self._on_lap, self._index = [], False, None

    def _begin(self) -> None:
        """The last two rows lie on both sides of the line."""
        self._on_lap = True
        self._rows = [row | {"metres": row["metres"] - self._track.length} for row in self._rows[-2:]]
        self._progress = self._rows[-1]["metres"]

    def _complete(self) -> Lap:
        rows = self._rows
        self.completed += 1
        self._begin()
        return _lap(rows, self._track, self._about, f"lap {self.completed}")


def cut_laps(states: Iterable[CarState | None], track: Track, about: About) -> Iterator[Lap]:
    """The laps of one car, N = 1, in order; None stands where what follows does not join what was.

    Raises ValueError as LapCutter does.
    """
    cutter = LapCutter(track, about)
    for state in states:
        if state is None:
            cutter.interrupt()
        elif (lap := cutter.add(state)) is not None:
            yield lap


def played_states(car: PlayedCar) -> Iterator[CarState | None]:
    """Everything that a recording holds, for `cut_laps`."""
    while True:
        yield car.read()
        if not car.at_gap:
            car.advance(1.0 / car.rate)
        elif car.exhausted:
            return
        else:
            yield None
            car.reset(np.ones(1, np.bool_))


def best_lap(laps: Iterable[Lap]) -> Lap:
    """The fastest clean lap, or where none is clean the fastest. Raises ValueError where there is none at all."""
    return min(laps, key=lambda lap: (not lap.clean, lap.time))


def _row(state: CarState, gap: float) -> dict[str, Any]:
    """What a Lap keeps of a state; a quantity that the source does not report is missing."""
    if len(state.time) != 1:
        raise ValueError(f"laps are cut out of the states of one car, not of {len(state.time)}")
    row = {
        "time": float(state.time[0]),
        "speed": float(np.hypot(*state.velocity[0])),
        "throttle": float(state.throttle[0]),
        "brake": float(state.brake[0]),
        "steer": float(state.steer[0]),
        "gear": int(state.gear[0]),
        "engine_speed": float(state.engine_rpm[0]) * np.pi / 30.0,
        "gap": gap,
        "x": float(state.position[0, 0]),
        "y": float(state.position[0, 1]),
        "yaw_rate": float(state.yaw_rate[0]),
        "clean": bool(state.wheels_out[0] <= 2 and not state.collided[0]),
    }
    if state.acceleration is not None:
        row["acceleration_forward"], row["acceleration_left"] = state.acceleration[0].tolist()
    return row


def _lap(rows: list[dict[str, Any]], track: Track, about: About, name: str) -> Lap:
    """The lap within these rows, of which the first lies before the line and the last behind it again."""
    present = set.intersection(*(set(row) for row in rows))
    columns = {column: np.array([row[column] for row in rows]) for column in present}
    times, metres = columns.pop("time"), columns.pop("metres")
    start = _crossing(times[:2], metres[:2], 0.0)
    end = _crossing(times[-2:], metres[-2:], track.length)
    period = float(times[-1] - times[0]) / (len(times) - 1)
    count = max(2, round((end - start) / period) + 1)
    even = np.linspace(start, end, count)
    clean = bool(columns.pop("clean")[1:].all())
    gear = columns.pop("gear")[np.searchsorted(times, even, "right") - 1]
    driven = np.interp(even, times, metres)
    driven[0], driven[-1] = 0.0, track.length
    return Lap(
        name=name,
        track=track.name,
        driver=about.driver,
        begun=about.begun + timedelta(seconds=start),
        seconds=np.linspace(0.0, end - start, count),
        metres=driven,
        gear=gear,
        car=about.car,
        clean=clean,
        steering_lock=about.steering_lock,
        **{column: np.interp(even, times, values) for column, values in columns.items()},
    )


def _crossing(times: FloatArray, metres: FloatArray, line: float) -> float:
    """When the line at `line` m was crossed, s, between two moments (2,) before and behind it."""
    share = (line - metres[0]) / (metres[1] - metres[0])
    return float(times[0] + share * (times[1] - times[0]))

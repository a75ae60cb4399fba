"""Plays laps that were recorded in the real game, as a car: states row by row, and the controls of who drove.

Reads the CSV of dasGringuen/assetto_corsa_gym (columns below). Promises SI units, the ground plane of the track files
and None for what was not recorded; a value that is missing or not finite is refused, never filled in. It plays one
car in simulated time at the recording's own rate, cannot be steered, and does not start over: where rows do not join
(a recorded end, a jump) the drive is over until `reset` goes on behind the gap.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from racing.car import BoolArray, CarState, Controls, FloatArray, body_velocity
from racing.task import Float32Array, on_action_grid
from racing.track import Track
from racing.track_file import read_columns

REQUIRED_COLUMNS = (
    "currentTime",
    "world_position_x",
    "world_position_y",
    "velocity_x",
    "velocity_z",
    "yaw",
    "angular_velocity_y",
    "steerAngle",
    "accStatus",
    "brakeStatus",
    "RPM",
    "actualGear",
)
"""lap time s; ground plane m; world velocity m/s; rad; rad/s; steering wheel degrees, right positive; pedals 0..1;
revolutions per minute; the game's gear (0 reverse, 1 neutral, 2 first)."""
OPTIONAL_COLUMNS = ("done", "out_of_track")
"""1 on the last row of a drive; 1 with more than two wheels beyond the track's edge."""

STEERING_LOCK_DEGREES = 320.0
"""Where the steering of the recorded car stops: what its full steering command (1.0) reads in steerAngle."""
_LONGEST_PERIOD = 0.5
"""s; rows further apart than this do not join (the lap clock, which starts anew at the line, is not meant)."""
_BESIDE = 5.0
"""m beyond a track's edge at which a car is still on the track's grounds."""
_JUMP = 5.0
"""m by which a position may miss the one that the velocities of its neighbours predict."""


class RecordingError(ValueError):
    """A recording cannot be played; the text says why and what to do."""


class PlayedCar:
    """A car that does what it did: `states` of one car, a row each, `rate` (Hz) rows a second.

    `ends` (rows,) is true where the next row does not follow from this one; the last one is.
    """

    count = 1

    def __init__(self, states: CarState, rate: float, ends: BoolArray) -> None:
        self._states, self._ends = states, ends
        self.rate, self.rows = rate, len(states.time)
        self._row = 0
        self._go_on_behind_gaps()

    @property
    def at_gap(self) -> bool:
        """Whether the next row does not follow from this one; `reset` goes on behind the gap."""
        return bool(self._ends[self._row])

    @property
    def exhausted(self) -> bool:
        """Whether no recorded step is left."""
        return bool(self._ends[self._row :].all())

    def share_on(self, track: Track) -> float:
        """Which part of the rows, 0 to 1, lies on this track or at most a car's length beside it."""
        at = track.project(self._states.position)
        on: BoolArray = (at.gap < at.width_left + _BESIDE) & (at.gap > -at.width_right - _BESIDE)
        return float(on.mean())

    def upcoming_action(self) -> Float32Array:
        """(1, 2) what the recorded driver does in the next period, as the task's action (steer, pedals).

        It is what is found applied at the end of that period; the throttle counts against the brake.
        """
        row = min(self._row + 1, self.rows - 1)
        states = self._states
        return on_action_grid(np.array([[states.steer[row], states.throttle[row] - states.brake[row]]]))

    def read(self) -> CarState:
        """The state of the present row."""
        row = slice(self._row, self._row + 1)
        columns = (getattr(self._states, field.name) for field in fields(CarState))
        present: list[Any] = [None if column is None else column[row].copy() for column in columns]
        return CarState(*present)

    def apply(self, controls: Controls) -> None:
        """Change nothing: what happened has happened."""

    def advance(self, seconds: float) -> None:
        """Go on by as many rows as were recorded in that time, but not over a gap."""
        for _ in range(max(1, round(seconds * self.rate))):
            if self.at_gap:
                return
            self._row += 1

    def reset(self, which: BoolArray) -> None:
        """Begin anew where the recording goes on: behind the gap if the car stands at one, else right here."""
        if which[0]:
            self._go_on_behind_gaps()

    def close(self) -> None:
        """Nothing is held."""

    def _go_on_behind_gaps(self) -> None:
        while self.at_gap and not self.exhausted:
            self._row += 1


class RecordedCar(PlayedCar):
    """The car of a CSV file; `steering_lock_degrees` is steerAngle at full lock.

    Raises RecordingError: the file is missing, empty, lacks a column, or holds a value that is no finite number.
    """

    def __init__(self, path: Path, steering_lock_degrees: float = STEERING_LOCK_DEGREES) -> None:
        columns = _columns(path)
        periods = np.diff(columns["currentTime"])
        ticking = (periods > 0.0) & (periods < _LONGEST_PERIOD)
        if not ticking.any():
            raise RecordingError(
                f"The recording {path} has no two rows whose currentTime follow each other: it is no drive."
            )
        rate = 1.0 / float(np.mean(periods[ticking]))
        rows = len(columns["yaw"])
        # In this source's columns the position's x runs along the game's z, and its y along the game's x: so the
        # velocities swap, and yaw already counts counter-clockwise from x (verified on the recorded laps: course and
        # yaw agree to 0.004 rad in the median, and angular_velocity_y is the derivative of yaw to 0.003 rad/s).
        velocity = np.stack([columns["velocity_z"], columns["velocity_x"]], axis=1)
        states = CarState(
            time=np.arange(rows) / rate,
            position=np.stack([columns["world_position_x"], columns["world_position_y"]], axis=1),
            heading=np.unwrap(columns["yaw"]),
            velocity=body_velocity(velocity, columns["yaw"]),
            acceleration=None,
            yaw_rate=columns["angular_velocity_y"],
            steer=np.clip(-columns["steerAngle"] / steering_lock_degrees, -1.0, 1.0),
            throttle=np.clip(columns["accStatus"], 0.0, 1.0),
            brake=np.clip(columns["brakeStatus"], 0.0, 1.0),
            engine_rpm=columns["RPM"],
            gear=columns["actualGear"].astype(np.int64) - 1,
            wheel_slip=None,
            wheel_load=None,
            wheel_angular_speed=None,
            # The source says only that more than two wheels are out, and ends its own drive there, as all four would.
            wheels_out=np.where(columns["out_of_track"] > 0.5, 4, 0),
            collided=np.zeros(rows, np.bool_),
        )
        super().__init__(states, rate, last_rows(states, rate, columns["done"], periods))


def last_rows(states: CarState, rate: float, done: FloatArray, periods: FloatArray) -> BoolArray:
    """(rows,) true where the next row does not follow: a recorded end, a pause, a jump, the last row.

    `done` (rows,) is 1 at a recorded end, `periods` (rows - 1,) are the times between rows, s; rows come at `rate` Hz.
    """
    position, velocity = states.position, body_velocity(states.velocity, -states.heading)
    expected = position[:-1] + 0.5 * (velocity[:-1] + velocity[1:]) / rate
    missed = np.hypot(*(position[1:] - expected).T)
    # The lap clock falls back to 0 at the line; only positions can tell that from a restart.
    ends: BoolArray = np.append((done[:-1] > 0.5) | (missed > _JUMP) | (periods >= _LONGEST_PERIOD), True)
    return ends


def _columns(path: Path) -> dict[str, FloatArray]:
    instead = "Give the CSV file of a drive that assetto_corsa_gym recorded."
    columns = read_columns(path, "recording", instead, RecordingError)
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise RecordingError(
            f"The recording {path} lacks the columns {', '.join(missing)}. It must have those that assetto_corsa_gym "
            "records."
        )
    rows = len(columns["yaw"])
    return columns | {name: columns.get(name, np.zeros(rows)) for name in OPTIONAL_COLUMNS}

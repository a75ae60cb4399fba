"""Plays laps that were recorded in the real game, as a car: states row by row, and the controls of who drove.

Reads the CSV of dasGringuen/assetto_corsa_gym (columns below). Promises SI units, the ground plane of the track files
and None for what was not recorded; a value that is missing or not finite is refused, never filled in. It plays one
car in simulated time at the recording's own rate, cannot be steered, and does not start over: where rows do not join
(a recorded end, a jump) the drive is over until `reset` goes on behind the gap.
"""

from pathlib import Path

import numpy as np

from racing.car import BoolArray, CarState, Controls, FloatArray, IntArray
from racing.task import Float32Array, on_action_grid
from racing.track import Track
from racing.track_file import ColumnsError, read_columns

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


class RecordedCar:
    """A car that does what was recorded.

    Args:
        path: the CSV file.
        steering_lock_degrees: steerAngle at full lock.

    Raises:
        RecordingError: the file is missing, empty, lacks a column, or holds a value that is no finite number.
    """

    def __init__(self, path: Path, steering_lock_degrees: float = STEERING_LOCK_DEGREES) -> None:
        columns = _columns(path)
        yaw = columns["yaw"]
        # In this source's columns the position's x runs along the game's z, and its y along the game's x: so the
        # velocities swap, and yaw already counts counter-clockwise from x (verified on the recorded laps: course and
        # yaw agree to 0.004 rad in the median, and angular_velocity_y is the derivative of yaw to 0.003 rad/s).
        self._position = np.stack([columns["world_position_x"], columns["world_position_y"]], axis=1)
        along_x, along_y = columns["velocity_z"], columns["velocity_x"]
        self._heading = np.unwrap(yaw)
        self._velocity = np.stack(
            [along_x * np.cos(yaw) + along_y * np.sin(yaw), along_y * np.cos(yaw) - along_x * np.sin(yaw)], axis=1
        )
        self._yaw_rate = columns["angular_velocity_y"]
        self._steer = np.clip(-columns["steerAngle"] / steering_lock_degrees, -1.0, 1.0)
        self._throttle = np.clip(columns["accStatus"], 0.0, 1.0)
        self._brake = np.clip(columns["brakeStatus"], 0.0, 1.0)
        self._rpm = columns["RPM"]
        self._gear: IntArray = columns["actualGear"].astype(np.int64) - 1
        # The source says only that more than two wheels are out, and ends its own drive there, as all four would.
        self._wheels_out: IntArray = np.where(columns["out_of_track"] > 0.5, 4, 0)
        periods = np.diff(columns["currentTime"])
        ticking = (periods > 0.0) & (periods < _LONGEST_PERIOD)
        if not ticking.any():
            raise RecordingError(
                f"The recording {path} has no two rows whose currentTime follow each other: it is no drive."
            )
        self.rate = 1.0 / float(np.mean(periods[ticking]))
        """Rows a second, Hz."""
        self._time = np.arange(len(yaw)) / self.rate
        self._ends = self._last_rows(columns["done"], periods)
        self._row = 0
        self._go_on_behind_gaps()

    @property
    def count(self) -> int:
        """One."""
        return 1

    @property
    def rows(self) -> int:
        """Rows of the recording."""
        return len(self._time)

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
        at = track.project(self._position)
        on: BoolArray = (at.gap < at.width_left + _BESIDE) & (at.gap > -at.width_right - _BESIDE)
        return float(on.mean())

    def upcoming_action(self) -> Float32Array:
        """(1, 2) what the recorded driver does in the next period, as the task's action (steer, pedals).

        It is what is found applied at the end of that period; the throttle counts against the brake.
        """
        row = min(self._row + 1, self.rows - 1)
        return on_action_grid(np.array([[self._steer[row], self._throttle[row] - self._brake[row]]]))

    def read(self) -> CarState:
        """The state of the present row."""
        row = slice(self._row, self._row + 1)
        return CarState(
            time=self._time[row].copy(),
            position=self._position[row].copy(),
            heading=self._heading[row].copy(),
            velocity=self._velocity[row].copy(),
            acceleration=None,
            yaw_rate=self._yaw_rate[row].copy(),
            steer=self._steer[row].copy(),
            throttle=self._throttle[row].copy(),
            brake=self._brake[row].copy(),
            engine_rpm=self._rpm[row].copy(),
            gear=self._gear[row].copy(),
            wheel_slip=None,
            wheel_load=None,
            wheel_angular_speed=None,
            wheels_out=self._wheels_out[row].copy(),
            collided=np.zeros(1, np.bool_),
        )

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

    def _last_rows(self, done: FloatArray, periods: FloatArray) -> BoolArray:
        """(rows,) true where the next row does not follow: a recorded end, a pause, a jump, the last row."""
        headings = np.stack([np.cos(self._heading), np.sin(self._heading)], axis=1)
        lefts = np.stack([-headings[:, 1], headings[:, 0]], axis=1)
        velocity = headings * self._velocity[:, :1] + lefts * self._velocity[:, 1:]
        expected = self._position[:-1] + 0.5 * (velocity[:-1] + velocity[1:]) / self.rate
        missed = np.hypot(*(self._position[1:] - expected).T)
        # The lap clock falls back to 0 at the line; only positions can tell that from a restart.
        ends: BoolArray = np.append((done[:-1] > 0.5) | (missed > _JUMP) | (periods >= _LONGEST_PERIOD), True)
        return ends


def _columns(path: Path) -> dict[str, FloatArray]:
    try:
        columns = read_columns(path, "recording", "Give the CSV file of a drive that assetto_corsa_gym recorded.")
    except ColumnsError as error:
        raise RecordingError(str(error)) from error
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise RecordingError(
            f"The recording {path} lacks the columns {', '.join(missing)}. It must have those that assetto_corsa_gym "
            "records."
        )
    rows = len(columns["yaw"])
    return columns | {name: columns.get(name, np.zeros(rows)) for name in OPTIONAL_COLUMNS}

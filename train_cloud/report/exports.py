"""The best lap in the formats of racers' tools, out of what the run's history holds of it."""

from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from racing.lap import Lap
from racing.lap_files import FORMATS, write
from racing.track import Track
from train_cloud.report.courses import Course

RATE = 20.0
"""Samples a second: no more than the control rate is known."""


def lap_of(course: Course, track: Track, driver: str, ended: datetime) -> Lap:
    """The lap of `course`, evenly sampled in time; it ended at about `ended`."""
    count = max(2, round(course.time * RATE) + 1)
    even = np.linspace(0.0, course.time, count)

    def at(values: "np.typing.NDArray[np.float64]") -> "np.typing.NDArray[np.float64]":
        return np.asarray(np.interp(even, course.seconds, values))

    metres, gap, pedals = at(course.metres) * (track.length / course.metres[-1]), at(course.gap), at(course.pedals)
    metres[-1] = track.length
    held = np.searchsorted(course.seconds, even, "right").clip(1, len(course.seconds)) - 1
    positions = track.position_at(np.mod(metres, track.length), gap)
    return Lap(
        name=course.name,
        track=track.name,
        driver=driver,
        begun=ended - timedelta(seconds=course.time),
        seconds=even,
        metres=metres,
        speed=at(course.speed),
        throttle=np.clip(pedals, 0.0, 1.0),
        brake=np.clip(-pedals, 0.0, 1.0),
        steer=np.clip(at(course.steer), -1.0, 1.0),
        gear=course.gear[held],
        gap=gap,
        x=positions[:, 0],
        y=positions[:, 1],
    )


def write_lap(lap: Lap, path: Path) -> list[Path]:
    """The lap as `path` with each format's ending; Parquet only where its library is. Raises LapFileError, OSError."""
    forms = [form for form in FORMATS if form != "parquet" or find_spec("pyarrow") is not None]
    return [file for form in forms for file in write(lap, path, form)]

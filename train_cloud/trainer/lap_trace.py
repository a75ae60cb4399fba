"""The course of a lap, told from what the car observed: where it was along the track and beside its centreline."""

from dataclasses import dataclass

import numpy as np

from experience.batches import Batch, Float32Array, RowArray
from racing.car import FloatArray
from racing.sectors import reached_by
from racing.task import CHANNELS
from train_cloud.lap_table import SAMPLES, LapTrace

COLUMNS = 5
"""Of what each step tells: gap, m; speed, m/s; gear; steer and pedals."""
_GAP, _SPEED, _GEAR, _STEER, _PEDALS = range(COLUMNS)
_NAMES = [channel.name for channel in CHANNELS]
_SEEN = [_NAMES.index(name) for name in ("gap", "speed_forward", "speed_left", "gear")]
_SCALES = np.array([CHANNELS[column].scale for column in _SEEN], np.float32)


def seen_in(batch: Batch, rows: RowArray) -> Float32Array:
    """(COLUMNS, T): what each step was like in its middle; the gear is that in which it began.

    `rows` are the batch's current ones. The controls are what was applied, also where a human drove.
    """
    seen = batch.observations[:, _SEEN] * _SCALES
    middle = 0.5 * (seen[rows] + seen[rows + 1])
    speed = np.hypot(middle[:, 1], middle[:, 2])
    return np.stack([middle[:, 0], speed, seen[rows, 3], batch.actions[:, 0], batch.actions[:, 1]])


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """N steps of one car that hold a lap.

    Attributes:
        along: (N,) m/s along the centreline.
        seconds: (N,) that each took.
        seen: (COLUMNS, N), as seen_in tells it.
        start: when the lap began, s after the first step did.
        time: that the lap took, s.
    """

    along: FloatArray
    seconds: FloatArray
    seen: Float32Array
    start: float
    time: float

    def trace(self, version: int, steps: int, length: float | None) -> LapTrace:
        """The lap by `version` at `steps` of the run, on a track of `length` m.

        What the steps add up to is scaled to the length; where it is not known (None), it stays what they add up to.
        """
        at, reached = reached_by(self.along, self.seconds)
        began, ended = self.start, self.start + self.time
        first, last = np.interp([began, ended], at, reached)
        within = int(np.searchsorted(at, ended) - np.searchsorted(at, began))
        places = np.linspace(first, last, min(SAMPLES, max(2, within)))
        moments = np.clip(np.interp(places, reached, at), began, ended)
        moments[0], moments[-1] = began, ended
        middles = at[:-1] + 0.5 * self.seconds
        gears = self.seen[_GEAR, np.clip(np.searchsorted(at, moments, "right") - 1, 0, len(middles) - 1)]

        def told(values: FloatArray | Float32Array, digits: int) -> list[float]:
            rounded: list[float] = np.round(np.asarray(values, np.float64), digits).tolist()
            return rounded

        gap, speed, steer, pedals = (
            told(np.interp(moments, middles, self.seen[column]), digits)
            for column, digits in ((_GAP, 3), (_SPEED, 3), (_STEER, 4), (_PEDALS, 4))
        )
        return LapTrace(
            time=self.time,
            version=version,
            steps=steps,
            seconds=told(moments - began, 3),
            metres=told((places - first) * (1.0 if length is None else length / (last - first)), 2),
            gap=gap,
            speed=speed,
            steer=steer,
            pedals=pedals,
            gear=told(gears, 0),
        )

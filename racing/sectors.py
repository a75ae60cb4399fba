"""How fast a lap was in each of its sectors, told from what the car observed: positions are not kept with experience.

Sectors are thirds of the lap, along the centreline.
"""

import numpy as np

from racing.car import FloatArray
from racing.task import CHANNELS, Float32Array

SECTORS = 3
_LEAST_STRETCH = 0.1
"""Beside the centre of a bend, lengths along the centreline lose their meaning."""
_COLUMNS = {channel.name: (column, channel.scale) for column, channel in enumerate(CHANNELS)}


def speed_along(observations: Float32Array) -> FloatArray:
    """How fast cars get on along the centreline, (T,) m/s, in observations (T, D).

    (v_x cos e - v_y sin e) / (1 - gap * curvature), the motion in a Frenet frame (Werling et al., ICRA 2010).
    """

    def value(name: str) -> FloatArray:
        column, scale = _COLUMNS[name]
        return observations[:, column].astype(np.float64) * scale

    error = value("heading_error")
    along = value("speed_forward") * np.cos(error) - value("speed_left") * np.sin(error)
    stretch = 1.0 - value("gap") * value("curvature_0_6m")
    return np.asarray(along / np.maximum(stretch, _LEAST_STRETCH))


def reached_by(speeds: FloatArray, seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """When each of N steps began and the last one ended, (N + 1,) s from 0, and how far the car had got by then, m.

    It got on at `speeds` (N,) m/s for `seconds` (N,) each; who goes back gets on where he has been further again.
    """
    at = np.concatenate([[0.0], np.cumsum(seconds)])
    return at, np.maximum.accumulate(np.concatenate([[0.0], np.cumsum(speeds * seconds)]))


def sector_times(speeds: FloatArray, seconds: FloatArray, start: float, lap_time: float) -> FloatArray | None:
    """The times (SECTORS,), in s, of a lap within N steps, which got on at `speeds` (N,) m/s for `seconds` (N,) each.

    The lap begins `start` s after the first step did. What the steps add up to is scaled: whatever it is, is the lap.
    None where the steps do not hold the lap, or did not get on.
    """
    at, reached = reached_by(speeds, seconds)
    ends = np.array([start, start + lap_time])
    first, last = np.interp(ends, at, reached)
    if not (start >= 0.0 and ends[1] <= at[-1] and first < last):
        return None
    borders = first + (last - first) * np.arange(1, SECTORS) / SECTORS
    times = np.interp(borders, reached, at)
    return np.asarray(np.diff(times, prepend=ends[:1], append=ends[1:]))

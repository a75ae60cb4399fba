"""Geometry of closed lines in the ground plane: even steps, smoothing, angles.

Promises plain arithmetic on rows that wrap around; knows nothing of tracks or cars.
"""

import numpy as np

from racing.car import FloatArray


def wrapped(angle: FloatArray) -> FloatArray:
    """Return angles in radians, of any shape, brought into [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def resample(points: FloatArray, spacing: float) -> FloatArray:
    """Return a closed line (K, D) at even steps of about `spacing` metres.

    The first two columns are the ground plane; further columns are interpolated alike.
    """
    closed = np.concatenate([points, points[:1]])
    steps = np.hypot(*np.diff(closed[:, :2], axis=0).T)
    distance = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(8, round(distance[-1] / spacing))
    wanted = np.arange(count) * (distance[-1] / count)
    return np.stack([np.interp(wanted, distance, column) for column in closed.T], axis=1)


def smooth(values: FloatArray, deviation: float) -> FloatArray:
    """Return closed rows (M, ...) filtered by a Gaussian of this standard deviation, counted in rows."""
    if deviation <= 0:
        return values.copy()
    reach = min(int(np.ceil(4 * deviation)), len(values) // 2 - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    smoothed = np.zeros_like(values)
    for shift, weight in zip(range(-reach, reach + 1), weights, strict=True):
        smoothed += weight * np.roll(values, shift, axis=0)
    return smoothed

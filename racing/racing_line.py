"""The line that a fast driver takes: the path between the edges that bends least.

Promises a smooth closed path that keeps a margin to both edges. Minimum curvature is not quite minimum time, but within
about a second a lap of it (Heilmeier et al., Vehicle System Dynamics 2020), and it is one small quadratic programme.
"""

import numpy as np

from racing.car import FloatArray, IntArray
from racing.closed_line import resample, smooth
from racing.track import Track

_KNOT_SPACING = 7.0
_ITERATIONS = 250
_ROUNDS = 3
"""Times that the path is planned anew around the last one: only near an evenly spaced path do second differences of
its points measure how it bends, since points on the inside of a bend lie closer together."""
_TOGETHER, _BESIDE = 256, 64
"""Knots of a long track that are solved at once, and on either side of them those that they feel."""
_SHORTNESS = 2e-4
"""Weight of the path's length beside its curvature: a little keeps long straights straight."""


def racing_line(track: Track, margin: float = 1.1) -> FloatArray:
    """Return a closed path (K, 2) in metres, every 2 m, about `margin` metres or more from the edges of the track."""
    line = track
    for _ in range(_ROUNDS):
        knots = max(24, round(line.length / _KNOT_SPACING))
        s = np.arange(knots, dtype=np.float64) * (line.length / knots)
        heading = line.heading_at(s)
        points = line.position_at(s)
        low, high = _room(track, points, heading, margin)
        normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
        offset = _least_bending(points, normal, low, high)
        # Back to the fine grid by the offset, not by chords between the knots, which would cut tight bends.
        fine = np.asarray(np.interp(line.s, s, offset, period=line.length))
        fine = smooth(fine, 0.6 * _KNOT_SPACING / line.spacing)
        path = resample(smooth(line.position_at(line.s, fine), 1.0), track.spacing)
        line = Track(path, np.ones(len(path)), np.ones(len(path)), track.name)
    return line.centre


def _room(track: Track, points: FloatArray, heading: FloatArray, margin: float) -> tuple[FloatArray, FloatArray]:
    """Return how far (K,) a line may move to its right (negative) and to its left at these points, in metres."""
    at = track.project(points)
    # A road narrower than twice the margin leaves its middle.
    middle = 0.5 * (at.width_left - at.width_right) - at.gap
    reach = np.maximum(0.5 * (at.width_left + at.width_right) - margin, 0.05)
    slant = np.maximum(np.cos(heading - at.heading), 0.7)
    return (middle - reach) / slant, (middle + reach) / slant


def _least_bending(centre: FloatArray, normal: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return offsets g (K,) in [low, high] that minimise the summed squared second difference of centre + g normal.

    ADMM with a box (Boyd et al. 2011, 5.2): one factorisation a window, then matrix-vector products.
    """
    windows, inner = _windows(len(centre))
    identity = np.eye(windows.shape[1])
    first = np.roll(identity, 1, axis=1) - identity
    second = np.roll(identity, 1, axis=1) - 2.0 * identity + np.roll(identity, -1, axis=1)
    step = float(np.hypot(*(centre[1] - centre[0])))
    quadratic = np.zeros((*windows.shape, windows.shape[1]))
    linear = np.zeros((*windows.shape, 1))
    for axis in range(2):
        for operator, weight in ((second, 1.0), (first, _SHORTNESS * step * step)):
            across = operator * normal[windows, axis][:, None, :]
            transposed = across.transpose(0, 2, 1)
            quadratic += weight * (transposed @ across)
            linear += weight * (transposed @ (operator @ centre[windows, axis][:, :, None]))
    penalty = 0.02
    solve = np.linalg.inv(quadratic + penalty * identity)
    inside = np.clip(np.zeros(len(centre)), low, high)
    dual = np.zeros(len(centre))
    free = np.empty(len(centre))
    for _ in range(_ITERATIONS):
        wanted = (penalty * (inside - dual))[windows][:, :, None] - linear
        free[windows[:, inner]] = (solve[:, inner] @ wanted)[:, :, 0]
        relaxed = 1.6 * free - 0.6 * inside
        inside = np.clip(relaxed + dual, low, high)
        dual += relaxed - inside
    return inside


def _windows(count: int) -> tuple[IntArray, slice]:
    """Which of so many knots on a ring are solved together, (windows, knots), and the part of each window that counts.

    What is _BESIDE knots away moves a knot by less than a millimetre (the penalty makes it decay by a fifth with each),
    so that a long track costs in proportion to its length, not to its cube. A short one is one window, and whole.
    """
    if count <= _TOGETHER + 2 * _BESIDE:
        return np.arange(count)[None, :], slice(None)
    begins = np.arange(0, count, _TOGETHER)[:, None]
    return (begins + np.arange(-_BESIDE, _TOGETHER + _BESIDE)) % count, slice(_BESIDE, -_BESIDE)

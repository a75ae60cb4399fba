"""The line that a fast driver takes: the path between the edges that bends least.

Promises a smooth closed path that keeps a margin to both edges. Minimum curvature is not quite minimum time, but within
about a second a lap of it (Heilmeier et al., Vehicle System Dynamics 2020), and it is one small quadratic programme.
"""

import numpy as np

from racing.car import FloatArray
from racing.closed_line import resample, smooth
from racing.track import Track

_KNOT_SPACING = 7.0
_ITERATIONS = 250
_SHORTNESS = 2e-4
"""Weight of the path's length beside its curvature: a little keeps long straights straight."""


def racing_line(track: Track, margin: float = 1.1) -> FloatArray:
    """Return a closed path (K, 2) in metres, every 2 m, no nearer than `margin` metres to the edges of the track."""
    knots = max(24, round(track.length / _KNOT_SPACING))
    s = np.arange(knots, dtype=np.float64) * (track.length / knots)
    left, right = track.widths_at(s)
    heading = track.heading_at(s)
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    centre = track.position_at(s)
    # A road narrower than twice the margin leaves its middle.
    middle = 0.5 * (left - right)
    reach = np.maximum(0.5 * (left + right) - margin, 0.05)
    gap = _least_bending(centre, normal, middle - reach, middle + reach)
    # Back to the fine grid by the offset, not by chords between the knots, which would cut tight bends.
    fine = smooth(np.asarray(np.interp(track.s, s, gap, period=track.length)), 0.6 * _KNOT_SPACING / track.spacing)
    line, _ = resample(smooth(track.position_at(track.s, fine), 1.0), track.spacing)
    return line


def _least_bending(centre: FloatArray, normal: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return offsets g (K,) in [low, high] that minimise the summed squared second difference of centre + g normal.

    ADMM with a box (Boyd et al. 2011, 5.2): one factorisation, then matrix-vector products.
    """
    count = len(centre)
    identity = np.eye(count)
    first = np.roll(identity, 1, axis=1) - identity
    second = np.roll(identity, 1, axis=1) - 2.0 * identity + np.roll(identity, -1, axis=1)
    step = float(np.hypot(*(centre[1] - centre[0])))
    quadratic = np.zeros((count, count))
    linear = np.zeros(count)
    for axis in range(2):
        for operator, weight in ((second, 1.0), (first, _SHORTNESS * step * step)):
            across = operator * normal[:, axis]
            quadratic += weight * (across.T @ across)
            linear += weight * (across.T @ (operator @ centre[:, axis]))
    penalty = 0.02
    solve = np.linalg.inv(quadratic + penalty * identity)
    inside = np.clip(np.zeros(count), low, high)
    dual = np.zeros(count)
    for _ in range(_ITERATIONS):
        free = solve @ (penalty * (inside - dual) - linear)
        relaxed = 1.6 * free - 0.6 * inside
        inside = np.clip(relaxed + dual, low, high)
        dual += relaxed - inside
    return inside

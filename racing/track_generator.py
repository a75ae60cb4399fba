"""Circuits from a seed: smooth closed lines with straights, fast bends and hairpins that never cross themselves.

Promises the same circuit for a seed on every machine: corners are rounded to millimetres and everything after them is
plain arithmetic in a fixed order. Candidates that are too tight or come too close to themselves are thrown away.
"""

import numpy as np

from racing.car import FloatArray
from racing.closed_line import resample, smooth

_TIGHTEST, _SLOW_CORNER = 13.0, 40.0
"""The smallest radius in metres anywhere, and the largest that the slowest corner of a circuit may have."""
_TRANSITION = 7.0
"""Standard deviation in metres of the smoothing that turns arcs and straights into easing bends."""
_CLEARANCE = 30.0
"""Metres between the centrelines of two parts of the circuit that do not follow each other."""
_ATTEMPTS = 2000


def generate_centreline(seed: int, length: float | None, spacing: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return centreline (M, 2), width to the left (M,) and to the right (M,) in metres.

    `length` in metres, or None for a length between 1 and 5 km that the seed chooses.
    """
    rng = np.random.default_rng([seed, 20_240_601])
    if length is None:
        length = float(np.round(1000.0 + 4000.0 * rng.random(), 1))
    for _ in range(_ATTEMPTS):
        centre = _candidate(rng, length, spacing)
        if centre is not None and _is_drivable(centre, spacing):
            left, right = (_widths(rng, len(centre)) for _ in range(2))
            if rng.random() < 0.5:
                return centre[::-1].copy(), left, right
            return centre, left, right
    raise RuntimeError(f"no circuit found for seed {seed} and {length} m")


def _candidate(rng: np.random.Generator, length: float, spacing: float) -> FloatArray | None:
    """Corners at random radii around a centre, joined by straights and rounded, scaled to the length."""
    corners = int(rng.integers(5, 10)) + int(length / 500.0)
    slots = np.arange(corners) + 0.9 * (rng.random(corners) - 0.5)
    angle = slots * (2 * np.pi / corners)
    radius = 0.22 + 0.78 * rng.random(corners)
    aspect = 0.5 + 0.5 * rng.random()
    points = np.stack([radius * np.cos(angle), aspect * radius * np.sin(angle)], axis=1)
    wanted = _TIGHTEST + 2.0 + 130.0 * rng.random(corners) ** 3
    # Rounding shortens the line, so the polygon is scaled until the rounded line has the length asked for.
    polygon = points * (length / 5.0)
    centre = polygon
    for _ in range(4):
        rounded = _rounded(polygon, wanted)
        if rounded is None:
            return None
        centre = resample(smooth(resample(rounded, spacing), _TRANSITION / spacing), spacing)
        steps = np.roll(centre, -1, axis=0) - centre
        polygon = polygon * (length / float(np.sqrt((steps * steps).sum(axis=1)).sum()))
    return np.round(centre, 4)


def _rounded(polygon: FloatArray, wanted: FloatArray) -> FloatArray | None:
    """Replace each corner by an arc of the wanted radius in metres, or of what its sides have room for."""
    outgoing = np.roll(polygon, -1, axis=0) - polygon
    side = np.hypot(outgoing[:, 0], outgoing[:, 1])
    ahead = outgoing / side[:, None]
    behind = np.roll(ahead, 1, axis=0)
    cross = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0]
    turn = np.arctan2(cross, (behind * ahead).sum(axis=1))
    half = np.maximum(np.tan(0.5 * np.abs(turn)), 1e-3)
    room = 0.47 * np.minimum(side, np.roll(side, 1))
    radius = np.minimum(wanted, room / half)
    if radius.min() < _TIGHTEST:
        return None
    arcs = []
    for corner, at in enumerate(polygon):
        start = at - radius[corner] * half[corner] * behind[corner]
        angle = turn[corner] * np.linspace(0.0, 1.0, 16)
        left = np.array([-behind[corner, 1], behind[corner, 0]]) * np.sign(turn[corner])
        forward = radius[corner] * np.sin(np.abs(angle))
        inward = radius[corner] * (1.0 - np.cos(angle))
        arcs.append(start + forward[:, None] * behind[corner] + inward[:, None] * left)
    return np.round(np.concatenate(arcs), 3)


def _is_drivable(centre: FloatArray, spacing: float) -> bool:
    before, after = np.roll(centre, 1, axis=0), np.roll(centre, -1, axis=0)
    bend = after - 2.0 * centre + before
    tightest = spacing**2 / float(np.sqrt((bend * bend).sum(axis=1)).max())
    if not _TIGHTEST <= tightest <= _SLOW_CORNER:
        return False
    rows = np.arange(0, len(centre), 3)
    offset = centre[rows, None, :] - centre[None, rows, :]
    apart = np.sqrt((offset * offset).sum(axis=2))
    steps = np.abs(rows[:, None] - rows[None, :])
    along = np.minimum(steps, len(centre) - steps) * spacing
    # Along one bend points are naturally close: a half circle is 0.64 of its arc wide.
    return bool((apart >= np.minimum(_CLEARANCE, 0.5 * along)).all())


def _widths(rng: np.random.Generator, count: int) -> FloatArray:
    """Half a road of 10 to 14 m, slowly varying."""
    knots = max(4, count // 60)
    values = 5.0 + 2.0 * rng.random(knots)
    wide = np.interp(np.arange(count) * (knots / count), np.arange(knots), values, period=knots)
    return np.round(smooth(wide, 10.0), 4)

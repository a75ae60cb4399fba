"""Where a car that can be teleported begins: random places of the track, and how fast it rolls there.

Promises places near the centreline, pointing along the track, at the road's height; rolling speeds that the road ahead
allows; and steering that keeps a car on the road while it speeds up. It moves no car: reset.py and rolling.py do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.assetto_corsa.controls.controls import Command
from racing.car import FloatArray
from racing.track import Track

FASTEST_ROLL = 25.0
"""m/s; a GT3 car needs 5 s to it."""
ABOVE_GROUND = 0.1
"""m that a car is put above the line's height, so that it drops onto the road and not through it."""
_GRIP = 6.0
"""m/s^2 that any car can be turned or braked with on any dry road."""
_AHEAD = np.arange(0.0, 120.0, 4.0)
"""m of road ahead whose bends limit a rolling start: from FASTEST_ROLL a car stops within half of it."""
_FULL_LOCK = 0.35
"""rad of the front wheels at full lock, assumed: most road cars have more, most racing cars a little less."""
_WHEELBASE = 2.7
_SAME_WAY = 0.7
"""Cosine of 45 degrees: the line cuts bends, and levels cross at more than that."""
_ROLL_THROTTLE = 0.7


@dataclass(frozen=True, slots=True)
class Start:
    """A place to begin: position (x, y) in m, elevation in m, heading in rad, and the speed to roll at in m/s."""

    position: tuple[float, float]
    elevation: float
    heading: float
    speed: float


class Starts:
    """Random starts on one track, a share of them `rolling`, repeatable with a seed.

    `elevation` is that of the road at a position (2,) that leads in a direction (rad), m.
    """

    def __init__(
        self,
        track: Track,
        elevation: Callable[[FloatArray, float], float],
        seed: int | None = None,
        rolling: float = 0.7,
    ) -> None:
        self._track, self._elevation, self._rolling = track, elevation, rolling
        self._random = np.random.default_rng(seed)

    def draw(self) -> Start:
        """The next start."""
        s = float(self._random.random() * self._track.length)
        left, right = self._track.widths_at(np.array([s]))
        gap = float(self._random.uniform(-0.25, 0.25) * min(left[0], right[0]))
        position = self._track.position_at(np.array([s]), gap)[0]
        share = float(self._random.uniform(0.3, 0.9))
        rolls = bool(self._random.random() < self._rolling)
        heading = float(self._track.heading_at(np.array([s]))[0])
        return Start(
            position=(float(position[0]), float(position[1])),
            elevation=self._elevation(position, heading) + ABOVE_GROUND,
            heading=heading,
            speed=share * self._allowed(s) if rolls else 0.0,
        )

    def allowed(self, position: tuple[float, float]) -> float:
        """m/s at which every bend ahead can still be taken, by a car that brakes for it; at most FASTEST_ROLL."""
        return self._allowed(float(self._track.project(np.array([position])).s[0]))

    def _allowed(self, s: float) -> float:
        bends = np.maximum(np.abs(self._track.curvature_at(s + _AHEAD)), 1e-4)
        # What the bend allows, and what can be braked away until there.
        squares = _GRIP / bends + 2.0 * _GRIP * _AHEAD
        return min(math.sqrt(float(squares.min())), FASTEST_ROLL)

    def along(self, position: tuple[float, float], heading: float, speed: float) -> Command:
        """What speeds a car up along the centreline: pure pursuit (Coulter, 1992) under a steady throttle."""
        at = self._track.project(np.array([position]))
        far = 8.0 + 0.8 * speed
        target = self._track.position_at(at.s + far)[0] - np.array(position)
        error = math.atan2(target[1], target[0]) - heading
        angle = math.atan2(2.0 * _WHEELBASE * math.sin(error), far)
        return Command(min(max(angle / _FULL_LOCK, -1.0), 1.0), _ROLL_THROTTLE, 0.0)


class LineElevation:
    """The road's height at a position: that of the nearest point of a line that leads the same way.

    Where the road crosses itself on a bridge, the nearest point may be of the other level; it leads across. `points`
    (n, 2) lie along a closed line, in order, `elevation` (n,) are their heights, both in m.
    """

    def __init__(self, points: FloatArray, elevation: FloatArray) -> None:
        self._points, self._heights = points, elevation
        along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
        self._headings = np.arctan2(along[:, 1], along[:, 0])

    def __call__(self, position: FloatArray, heading: float) -> float:
        """Height in m at `position` (2,) of the road that leads along `heading`, rad."""
        offset = self._points - position
        away = np.einsum("ij,ij->i", offset, offset)
        other = np.cos(self._headings - heading) < _SAME_WAY
        if not other.all():
            away[other] = np.inf
        return float(self._heights[int(away.argmin())])

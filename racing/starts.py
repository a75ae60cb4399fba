"""Where simulated cars begin to drive: what a learner is shown of a track, before it can get there by itself.

A car that always starts slowly learns to lap slowly: it meets a bend at speed only once it can drive there at speed.
One that always starts at the fast line's pace takes long to lap at all. So most starts are near the fast line, at a
pace that rises with each second that is driven and falls with each end (a curriculum of reset states); and half of all
are before the places where drives ended lately.
"""

from collections import deque
from typing import Final, NamedTuple

import numpy as np

from racing.car import FloatArray, IntArray
from racing.pace import pace_of
from racing.speed_profile import speed_profile
from racing.track import Track
from racing.vehicle import Vehicle

AGAIN: Final = 0.5
"""Share of the starts that are before a place where a drive ended lately."""
AT_PACE: Final = 0.8
"""Share of the starts that are near the fast line at its pace; the others are slower, near the middle of the road."""
FIRST_PACE: Final = 0.7
"""Greatest speed of a start over the line's there, at first."""
PACE_BOUNDS: Final = (0.65, 1.15)
"""Of that greatest. In the end some are too fast: what cannot be saved any more is worth knowing, too."""
_PACE_RANGE: Final = 0.35
_RISE_A_SECOND: Final = 0.01
_FALL_AN_END: Final = 0.02
_SAFE_PACE: Final = (0.3, 0.9)
_SAFE_GRIP_USE: Final = 0.7
_MOST_SAFE_SPEED: Final = 40.0
_ENDS_KEPT: Final = 20
_BEFORE_END: Final = (30.0, 150.0)
"""m; far enough to come to a bend as one comes to it on a lap."""
_FROM_EDGE: Final = 1.5
_LINE_SPREAD: Final = 0.8
_SLOPE_OVER: Final = 10.0


class Start(NamedTuple):
    """Of N cars, (N,) each: arc length s and place aside of the centreline in m, angle to it in rad, speed in m/s."""

    s: FloatArray
    gap: FloatArray
    angle: FloatArray
    speed: FloatArray


class Starts:
    """Draws starts on one track; knows where the latest drives ended, and how fast starts have become."""

    def __init__(self, track: Track, vehicle: Vehicle) -> None:
        self._track, self._pace = track, pace_of(track)
        self._safe_speed = speed_profile(track.curvature, track.spacing, vehicle, use=_SAFE_GRIP_USE)
        self._ends = deque[float](maxlen=_ENDS_KEPT)
        self.greatest_pace = FIRST_PACE

    def ended(self, s: FloatArray, seconds: FloatArray) -> None:
        """Drives ended at these arc lengths (N,), after so many seconds (N,)."""
        self._ends.extend(s)
        rise = _RISE_A_SECOND * float(seconds.sum()) - _FALL_AN_END * len(s)
        self.greatest_pace = float(np.clip(self.greatest_pace + rise, *PACE_BOUNDS))

    def forget(self) -> None:
        """No drive ended yet."""
        self._ends.clear()
        self.greatest_pace = FIRST_PACE

    def rolling(self, s: FloatArray) -> Start:
        """In the middle of the road at a moderate speed, at arc lengths `s` (N,): how drivers are judged."""
        straight = np.zeros(len(s))
        return Start(s, straight, straight, np.minimum(0.6 * self._safe_speed[self._points(s)], _MOST_SAFE_SPEED))

    def drawn(self, count: int, random: np.random.Generator) -> Start:
        """So many starts by `random`."""
        track = self._track
        s = random.random(count) * track.length
        if self._ends:
            behind = random.choice(self._ends, count) - random.uniform(*_BEFORE_END, count)
            s = np.where(random.random(count) < AGAIN, behind % track.length, s)
        fast, slow, at_pace = self._at_pace(s, random), self._near_the_middle(s, random), random.random(count) < AT_PACE
        return Start(*(np.where(at_pace, one, other) for one, other in zip(fast, slow, strict=True)))

    def _near_the_middle(self, s: FloatArray, random: np.random.Generator) -> Start:
        left, right = self._track.widths_at(s)
        gap = random.uniform(-0.25, 0.25, len(s)) * np.minimum(left, right)
        speed = np.minimum(random.uniform(*_SAFE_PACE, len(s)) * self._safe_speed[self._points(s)], _MOST_SAFE_SPEED)
        return Start(s, gap, random.uniform(-0.04, 0.04, len(s)), speed)

    def _at_pace(self, s: FloatArray, random: np.random.Generator) -> Start:
        line, at, later = self._pace.line_gap, self._points(s), self._points(s + _SLOPE_OVER)
        left, right = self._track.widths_at(s)
        gap = np.clip(line[at] + random.normal(0.0, _LINE_SPREAD, len(s)), _FROM_EDGE - right, left - _FROM_EDGE)
        angle = np.arctan2(line[later] - line[at], _SLOPE_OVER) + random.uniform(-0.03, 0.03, len(s))
        pace = random.uniform(self.greatest_pace - _PACE_RANGE, self.greatest_pace, len(s))
        return Start(s, gap, angle, pace * self._pace.line_speed[at])

    def _points(self, s: FloatArray) -> IntArray:
        return (s / self._track.spacing).astype(np.int64) % len(self._track.centre)

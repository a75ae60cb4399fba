"""How fast a track can be driven, as a learner is shown it: in the middle of the road, and on the fast line.

Both are reckoned for a GT3 car, the line is the reference driver's. They are yardsticks and no limits: what another
car, or a better driver, makes of them is learned.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from racing.car import FloatArray
from racing.reference_driver import ReferenceDriver
from racing.speed_profile import speed_profile
from racing.track import Track

MIDDLE_GRIP_USE = 0.9
"""Share of the tyres' grip that driving in the middle of the road takes: by such a speed a car laps that does not hold
the fast line yet."""


class Pace(NamedTuple):
    """At each point (M,) of the track.

    Attributes:
        middle_speed: m/s on the centreline.
        line_gap: metres from the centreline to the fast line, positive to the left.
        line_speed: m/s on it.
    """

    middle_speed: FloatArray
    line_gap: FloatArray
    line_speed: FloatArray


@lru_cache(maxsize=8)
def pace_of(track: Track) -> Pace:
    """The pace of `track`; planning one takes 0.1 s for each two kilometres, so the latest are kept."""
    driver = ReferenceDriver(track)
    at = track.project(driver.line.centre)
    points = np.arange(len(track.centre)) * track.spacing
    gap, speed = (np.interp(points, at.s, values, period=track.length) for values in (at.gap, driver.speed))
    middle = speed_profile(track.curvature, track.spacing, driver.vehicle, MIDDLE_GRIP_USE)
    return Pace(middle, np.asarray(gap), np.asarray(speed))

"""The reference driver's plan of a track as a learner is shown it: where its line lies in the road, and how fast it is.

It is a yardstick and no limit. What another car, or a better driver, makes of it is learned.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from racing.car import FloatArray
from racing.reference_driver import ReferenceDriver
from racing.track import Track


class FastLine(NamedTuple):
    """At each point (M,) of the track: metres from the centreline to the line, positive to the left, and m/s on it."""

    gap: FloatArray
    speed: FloatArray


@lru_cache(maxsize=8)
def fast_line(track: Track) -> FastLine:
    """The line of `track`; planning one takes 0.1 s for each two kilometres, so the latest are kept."""
    driver = ReferenceDriver(track)
    at = track.project(driver.line.centre)
    points = np.arange(len(track.centre)) * track.spacing
    gap, speed = (np.interp(points, at.s, values, period=track.length) for values in (at.gap, driver.speed))
    return FastLine(np.asarray(gap), np.asarray(speed))

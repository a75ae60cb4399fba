"""Turns the game's axes into the ground plane of racing/, and back: the only place that knows how they differ.

The game's world has y up, and its ground plane is mirrored as (x, z), so our x runs along the game's z and our y along
its x, which is the frame of the circuits and laps that we have from the game, too. In (z, x) the real fast_lane.ai of
Monza's junior course runs clockwise, as the course is driven, its `side left` and `side right` land on the same sides'
borders of the surveyed Monza (median 0.3 m on the left, 11 m if swapped) and its line clips the inside of its bends
(in right-hand bends 4.3 m to the right edge, 8.9 m to the left). The telemetry of assetto_corsa_gym stores the
position as (z, x) and `yaw` as minus the page's heading, and over two recorded laps atan2(velocity x, velocity z)
agrees with that yaw to 0.004 rad in the median and localAngularVel y is its derivative: so our heading is minus the
game's, and yaw rates keep their sign. Holds no units: metres, m/s and rad stay what they are.
"""

import numpy as np
from numpy.typing import ArrayLike

from racing.car import FloatArray


def plane_vector(x: ArrayLike, z: ArrayLike) -> FloatArray:
    """Return (..., 2) for the game's x and z, each (...), of a position, a velocity or an acceleration.

    Of the world it lies along the ground plane's axes; of the car's frame (y up) it is forward and left.
    """
    return np.stack([np.asarray(z, dtype=np.float64), np.asarray(x, dtype=np.float64)], axis=-1)


def ground_heading(heading: ArrayLike) -> FloatArray:
    """Return headings (...) in rad, counter-clockwise from the ground plane's x, for the game's; and the way back."""
    return np.negative(np.asarray(heading, dtype=np.float64))


def game_position(position: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the game's x and z, each (...), in metres for ground positions (..., 2)."""
    return position[..., 1], position[..., 0]


def game_direction(heading: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the game's x and z, each (...), of the level unit vector in which a car of our heading points."""
    angle = np.asarray(heading, dtype=np.float64)
    return np.sin(angle), np.cos(angle)

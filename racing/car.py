"""The one description of a car that everything else drives: what is read from it and what is sent to it.

Promises that a simulated car, the real game and a recording look the same to the task. It holds no physics and no task.
Frames: the ground plane is a right-handed map seen from above, in metres; headings turn counter-clockwise from +x, in
radians; left is positive for lateral velocity, yaw rate and steering. All quantities are SI.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CarState:
    """N cars at one moment. Every field has the leading shape (N,); wheels are in the order FL, FR, RL, RR.

    A quantity that the source does not report is None for the whole state: absent, never invented.
    """

    time: FloatArray
    """(N,) seconds since the session started; never goes back, also not at a reset."""
    position: FloatArray
    """(N, 2) metres in the ground plane."""
    heading: FloatArray
    """(N,) radians, counter-clockwise from +x; may lie outside [-pi, pi]."""
    velocity: FloatArray
    """(N, 2) m/s in the body frame: forward, left."""
    acceleration: FloatArray | None
    """(N, 2) m/s^2 in the body frame, as an accelerometer at the centre of gravity reads it: forward, left."""
    yaw_rate: FloatArray
    """(N,) rad/s, positive to the left."""
    steer: FloatArray
    """(N,) steering as applied, -1 to 1 of full lock, positive to the left."""
    throttle: FloatArray
    """(N,) throttle as applied, 0 to 1."""
    brake: FloatArray
    """(N,) brake as applied, 0 to 1."""
    engine_rpm: FloatArray
    """(N,) revolutions per minute."""
    gear: IntArray
    """(N,) -1 reverse, 0 neutral, 1 and up forward."""
    wheel_slip: FloatArray | None
    """(N, 4) combined slip of each tyre, normalised so that 1 is where the tyre force peaks."""
    wheel_load: FloatArray | None
    """(N, 4) vertical load of each tyre in newtons."""
    wheel_angular_speed: FloatArray | None
    """(N, 4) rad/s, positive when rolling forward."""
    wheels_out: IntArray
    """(N,) wheels beyond the edge of the track and its kerb, 0 to 4."""
    collided: BoolArray
    """(N,) true once the car has hit something since its last reset."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What a driver asks of N cars. Values outside the ranges are clipped by the car."""

    steer: FloatArray
    """(N,) -1 to 1 of full lock, positive to the left."""
    throttle: FloatArray
    """(N,) 0 to 1."""
    brake: FloatArray
    """(N,) 0 to 1."""


class Car(Protocol):
    """One or more cars driven together. Gears shift automatically inside the car."""

    @property
    def count(self) -> int:
        """Number of cars, N."""

    def read(self) -> CarState:
        """Return the present state; the arrays belong to the caller and do not change later."""

    def apply(self, controls: Controls) -> None:
        """Hold these controls until the next call."""

    def advance(self, seconds: float) -> None:
        """Let simulated time pass; a car in the real game does nothing here."""

    def reset(self, which: BoolArray) -> None:
        """Start the cars where `which` (N,) is true afresh; the others go on undisturbed."""

    def close(self) -> None:
        """Release what the car holds; safe to call twice."""


def body_velocity(velocity: FloatArray, heading: FloatArray) -> FloatArray:
    """Return (..., 2) m/s forward and left for a velocity (..., 2) in the ground plane and headings (...) in rad.

    With minus the heading it is the way back.
    """
    cosine, sine = np.cos(heading), np.sin(heading)
    along, across = velocity[..., 0], velocity[..., 1]
    return np.stack([along * cosine + across * sine, across * cosine - along * sine], axis=-1)

"""A driver that needs no learning: the yardstick that every policy is measured against.

It follows the racing line at the speed that grip, engine and brakes allow. Promises clean laps on generated and real
tracks in the simulator; it sees only CarState, so it can drive whatever implements Car.
"""

import numpy as np

from racing.car import CarState, Controls, FloatArray, IntArray
from racing.closed_line import wrapped
from racing.racing_line import racing_line
from racing.speed_profile import speed_profile
from racing.track import Track
from racing.vehicle import GRAVITY, GT3, Vehicle

GRIP_USE = 0.96
"""Share of the tyres' grip that the driver plans with; the rest holds the car on its line."""
_DELAY = 0.1
"""s between a look at the car and the middle of what the controls then do: half a period, steering and tyres."""
_WIDEST_ERROR = 2.5
"""m off the line that still steer harder; beyond, the car comes back at the same angle."""
_GEARED_SPEED = 25.0
"""m/s below which first gear, not power, limits the push."""
_MOST_SLIP = 1.8
"""Slip of the front tyres, of their peak, that the driver steers to at most."""
_TAIL_SLIP = 0.75
"""Slip of the rear tyres, of their peak, from which the driver steers against."""


class ReferenceDriver:
    """Drives N cars around one track.

    Attributes: line, the path as a Track of its own; speed (M,) in m/s at the line's points; lap_time_estimate in s,
    the quasi-steady lap of that profile.
    """

    def __init__(self, track: Track, vehicle: Vehicle = GT3, line: FloatArray | None = None, pace: float = 1.0) -> None:
        """Plan the lap; `line` is a closed path (K, 2) in metres, every 2 m, or None for the one that bends least.

        `pace` is the share of that profile's speed that is driven, for a driver who does not try hard.
        """
        points = racing_line(track) if line is None else line
        width = np.ones(len(points))
        self.line = Track(points, width, width, f"{track.name}, racing line")
        self.vehicle = vehicle
        self.speed = pace * speed_profile(self.line.curvature, self.line.spacing, vehicle, GRIP_USE)
        both = self.speed + np.roll(self.speed, -1)
        self.lap_time_estimate = float((2.0 * self.line.spacing / both).sum())
        self._index: IntArray | None = None

    def controls(self, state: CarState) -> Controls:
        """Return what to do in these states (N,); works for any control rate from 10 Hz up."""
        hint = self._index if self._index is not None and len(self._index) == len(state.time) else None
        at = self.line.project(state.position, hint)
        self._index = at.index
        speed = np.hypot(state.velocity[:, 0], state.velocity[:, 1])
        ahead = at.s + _DELAY * speed
        throttle, brake = self._pedals(state.velocity[:, 0], state.yaw_rate, ahead)
        # Where the car is going, not where it points: then its sideslip in a steady bend is no error (Kapania and
        # Gerdes, Vehicle System Dynamics 2015).
        sideslip = np.arctan2(state.velocity[:, 1], np.maximum(state.velocity[:, 0], 3.0))
        course_error = wrapped(state.heading + sideslip - at.heading)
        steer = self._steer(speed, ahead, at.gap, course_error, state)
        return Controls(steer, throttle, brake)

    def _steer(
        self, speed: FloatArray, ahead: FloatArray, gap: FloatArray, course_error: FloatArray, state: CarState
    ) -> FloatArray:
        vehicle = self.vehicle
        bend = self.line.curvature_at(ahead)
        forward = vehicle.wheelbase * bend
        preview = 5.0 + 0.25 * speed
        offset = np.clip(gap, -_WIDEST_ERROR, _WIDEST_ERROR)
        gain = 0.9 / (10.0 + 0.6 * speed)
        back = gain * (offset + preview * np.sin(course_error))
        damping = 0.07 * (state.yaw_rate - bend * speed)
        # A tail near its limit is caught before the line is followed.
        forward_speed = np.maximum(state.velocity[:, 0], 5.0)
        tail = np.arctan2(state.velocity[:, 1] - vehicle.rear_arm * state.yaw_rate, forward_speed)
        catch = tail - np.clip(tail, -_TAIL_SLIP * vehicle.peak_slip, _TAIL_SLIP * vehicle.peak_slip)
        # Beyond the peak of the front tyres more lock turns less: stay near it, measured from where the axle moves.
        aside = state.velocity[:, 1] + vehicle.front_arm * state.yaw_rate
        axle = np.arctan2(aside, forward_speed)
        most = _MOST_SLIP * vehicle.peak_slip
        angle = np.clip(forward - back - damping + catch, axle - most, axle + most)
        return np.asarray(np.clip(angle / vehicle.full_lock, -1.0, 1.0))

    def _pedals(self, speed: FloatArray, yaw_rate: FloatArray, ahead: FloatArray) -> tuple[FloatArray, FloatArray]:
        cells = (ahead / self.line.spacing).astype(np.int64) % len(self.speed)
        short = self.speed[cells] - speed
        # What the bend takes of the tyres is not there for the pedals: the friction ellipse again.
        vehicle = self.vehicle
        grip = vehicle.cornering_friction * (GRAVITY + vehicle.downforce / vehicle.mass * speed * speed)
        bending = np.maximum(np.abs(yaw_rate), np.abs(self.line.curvature[cells]) * speed)
        left_over = grip * np.sqrt(np.clip(1.0 - (bending * speed / grip) ** 2, 0.0, 1.0))
        push = vehicle.peak_power / (vehicle.mass * np.maximum(speed, _GEARED_SPEED))
        pull = vehicle.brake_torque / (vehicle.wheel_radius * vehicle.mass)
        driven = 1.0 - vehicle.front_weight
        throttle = np.clip(0.15 + 0.5 * short, 0.0, np.minimum(0.15 + driven * left_over / push, 1.0))
        # Far too fast, braking comes first: ABS shares the tyres out, and a wide line beats none.
        most = np.maximum(0.05 + left_over / pull, np.minimum(-0.2 * (short + 0.5), 0.5))
        brake = np.clip(-0.3 * (short + 0.2), 0.0, np.minimum(most, 1.0))
        return throttle, brake

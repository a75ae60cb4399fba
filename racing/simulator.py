"""A simulated GT3 car, or many, on a track: the `Car` that needs no game.

Promises the fields that the game reports, repeatable runs for a seed, and stability from a standstill to a spin. The
road's edge is followed by a kerb and then grass; a wall stands beyond the grass. Ground and wall live here, what the
tyres and the engine do in dynamics.py.
"""

import math

import numpy as np

from racing.car import BoolArray, CarState, Controls, FloatArray, IntArray
from racing.dynamics import ComplexArray, Dynamics
from racing.starts import Starts
from racing.track import Projection, Track
from racing.vehicle import GT3, Vehicle

KERB_WIDTH = 1.0
"""Metres beyond the edge that are kerb; a wheel beyond it is out."""
KERB_GRIP = 0.9
"""Friction of a painted kerb over that of dry asphalt."""
GRASS_GRIP = 0.55
"""Friction of slicks on dry grass over that on asphalt (Milliken ch. 2 gives 0.3 to 0.6 for loose ground)."""
GRASS_ROLLING = 0.10
"""Rolling force over load on grass (Wong, Theory of Ground Vehicles, 2008, gives 0.1 for soft ground)."""
BARRIER_DISTANCE = 10.0
"""Metres from the edge to the wall; less on the inside of bends so tight that there is no such room."""

_BLEND = 0.3
_RESTITUTION = 0.25
_WALL_FRICTION = 0.35
_STEPS_TOGETHER = 3


class SimulatedCar:
    """N cars on one track that do not see each other; implements the Car protocol."""

    def __init__(
        self,
        track: Track,
        count: int = 1,
        seed: int = 0,
        physics_hz: float = 250.0,
        start: str | FloatArray = "random",
        vehicle: Vehicle = GT3,
    ) -> None:
        """Place `count` cars on the track.

        start: "random": rolling anywhere, as racing.starts draws them; "line": on the centreline 10 m before s = 0 at
        a moderate speed; or (N,) arc lengths in m, one a car, likewise.
        physics_hz: at least 250. Raises ValueError otherwise.
        """
        if isinstance(start, str) and start not in ("random", "line"):
            raise ValueError(f"start is {start!r}; it must be 'random', 'line' or arc lengths")
        if count < 1:
            raise ValueError(f"count is {count}; at least one car is needed")
        if physics_hz < 250.0:
            raise ValueError(f"physics_hz is {physics_hz}; the tyres need at least 250 steps a second")
        self.track = track
        self.vehicle = vehicle
        self.count = count
        self._physics_hz = physics_hz
        self._places: FloatArray | None = None
        if not isinstance(start, str):
            self._places = start
        elif start == "line":
            self._places = np.full(count, -10.0)
        self._random = np.random.default_rng(seed)
        self._starts = Starts(track, vehicle)
        self._dynamics = Dynamics(vehicle, count)
        self._time = 0.0
        self._index = np.zeros(count, dtype=np.int64)
        self._beyond_edge = np.zeros((4, count))
        self._collided = np.zeros(count, dtype=np.bool_)
        self._driven = np.zeros(count, dtype=np.bool_)
        self._began = np.zeros(count)
        self._controls = Controls(np.zeros(count), np.zeros(count), np.zeros(count))
        self._begin(np.arange(count))

    def read(self) -> CarState:
        """Return the present state of the cars; the arrays do not change later."""
        dynamics = self._dynamics
        return CarState(
            time=np.full(self.count, self._time),
            position=_rows(dynamics.position),
            heading=dynamics.heading.copy(),
            velocity=_rows(dynamics.velocity * np.exp(-1j * dynamics.heading)),
            acceleration=_rows(dynamics.acceleration),
            yaw_rate=dynamics.yaw_rate.copy(),
            steer=dynamics.steer.copy(),
            throttle=dynamics.throttle.copy(),
            brake=dynamics.brake.copy(),
            engine_rpm=dynamics.rpm.copy(),
            gear=dynamics.gear.copy(),
            wheel_slip=dynamics.slip.T.copy(),
            wheel_load=dynamics.load.T.copy(),
            wheel_angular_speed=dynamics.wheel_speed.T.copy(),
            wheels_out=(self._beyond_edge > KERB_WIDTH).sum(axis=0),
            collided=self._collided.copy(),
        )

    def apply(self, controls: Controls) -> None:
        """Hold these controls until the next call; values beyond their ranges are clipped, NaN counts as 0."""
        given, lowest = (controls.steer, controls.throttle, controls.brake), (-1.0, 0.0, 0.0)
        self._controls = Controls(*map(_clipped, given, lowest))

    def advance(self, seconds: float) -> None:
        """Simulate this time in equal steps of at most 1 / physics_hz."""
        steps = math.ceil(seconds * self._physics_hz - 1e-9)
        if steps <= 0:
            return
        step = seconds / steps
        dynamics, controls = self._dynamics, self._controls
        for first in range(0, steps, _STEPS_TOGETHER):
            together = min(_STEPS_TOGETHER, steps - first)
            dynamics.prepare(together * step, controls.steer, controls.throttle, controls.brake)
            for _ in range(together):
                dynamics.step(step)
            self._touch_ground()
        self._time += seconds
        self._driven[:] = True

    def reseed(self, seed: int) -> None:
        """Draw the starts from here on as a car made with this seed would."""
        self._random = np.random.default_rng(seed)
        self._starts.forget()
        self._driven[:] = False

    def reset(self, which: BoolArray) -> None:
        """Start the cars where `which` (N,) is true afresh; time goes on."""
        cars = np.flatnonzero(which)
        if not len(cars):
            return
        ended = cars[self._driven[cars]]
        places = (self._index[ended] * self.track.spacing).astype(np.float64)
        self._starts.ended(places, self._time - self._began[ended])
        self._begin(cars)

    def _begin(self, cars: IntArray) -> None:
        starts, track = self._starts, self.track
        if self._places is None:
            start = starts.drawn(len(cars), self._random)
        else:
            start = starts.rolling(self._places[cars] % track.length)
        self._index[cars] = (start.s / track.spacing).astype(np.int64) % len(track.centre)
        position = track.position_at(start.s, start.gap).view(np.complex128)[:, 0]
        self._dynamics.restart(cars, position, track.heading_at(start.s) + start.angle, start.speed)
        self._collided[cars] = self._driven[cars] = False
        self._began[cars] = self._time
        for values in (self._controls.steer, self._controls.throttle, self._controls.brake):
            values[cars] = 0.0
        self._touch_ground()

    def close(self) -> None:
        """Release nothing: a simulated car holds only memory."""

    def _touch_ground(self) -> None:
        """Find what is under each wheel, and whether a car has met the wall."""
        dynamics = self._dynamics
        points = dynamics.position.view(np.float64).reshape(-1, 2)
        at = self.track.follow(points, self._index)
        self._index = at.index
        aside = (dynamics.arm * np.exp(1j * (dynamics.heading - at.heading))).imag + at.gap
        beyond = np.maximum(aside - at.width_left, -aside - at.width_right)
        self._beyond_edge = beyond
        outermost = beyond.max()
        if outermost <= 0.0:
            dynamics.grip[:2] = 1.0
            dynamics.grip[2:] = self.vehicle.rear_grip
            dynamics.rolling.fill(self.vehicle.rolling_resistance)
            return
        on_kerb = np.clip(beyond * (1.0 / _BLEND), 0.0, 1.0)
        on_grass = np.clip((beyond - KERB_WIDTH) * (1.0 / _BLEND), 0.0, 1.0)
        grip = 1.0 - (1.0 - KERB_GRIP) * on_kerb - (KERB_GRIP - GRASS_GRIP) * on_grass
        grip[2:] *= self.vehicle.rear_grip
        dynamics.grip = grip
        asphalt = self.vehicle.rolling_resistance
        dynamics.rolling = asphalt + (GRASS_ROLLING - asphalt) * on_grass
        if outermost > 1.0:
            self._meet_wall(at, aside)

    def _meet_wall(self, at: Projection, aside: FloatArray) -> None:
        into_left = aside.max(axis=0) - _barrier(at.width_left, at.curvature)
        into_right = -aside.min(axis=0) - _barrier(at.width_right, -at.curvature)
        cars: IntArray = np.flatnonzero(np.maximum(into_left, into_right) > 0.0)
        if not len(cars):
            return
        dynamics = self._dynamics
        side = np.where(into_left[cars] >= into_right[cars], 1.0, -1.0)
        outward = 1j * side * np.exp(1j * at.heading[cars])
        depth = np.maximum(into_left[cars], into_right[cars])
        dynamics.position[cars] -= depth * outward
        # In the wall's frame: real part into the wall, imaginary part along it. Restitution and Coulomb friction.
        speed = dynamics.velocity[cars] * outward.conj()
        impact = np.maximum(speed.real, 0.0)
        rubbed = np.minimum(np.abs(speed.imag), _WALL_FRICTION * (1.0 + _RESTITUTION) * impact)
        along = speed.imag - np.sign(speed.imag) * rubbed
        bounced = (speed.real - (1.0 + _RESTITUTION) * impact) + 1j * along
        dynamics.velocity[cars] = bounced * outward
        dynamics.yaw_rate[cars] *= 0.5
        self._collided[cars] = True


def _barrier(width: FloatArray, bend_to_this_side: FloatArray) -> FloatArray:
    """Return metres from the centreline to the wall; it stays clear of the bend's centre, where sides lose meaning."""
    room = 0.85 / np.maximum(bend_to_this_side, 1e-6)
    return np.asarray(np.minimum(width + BARRIER_DISTANCE, np.maximum(room, width + 2.0)))


def _rows(vectors: ComplexArray) -> FloatArray:
    return vectors.copy().view(np.float64).reshape(-1, 2)


def _clipped(values: FloatArray, lowest: float) -> FloatArray:
    return np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64)), lowest, 1.0)

"""The simulator's car as the game has it: it can be put anywhere, and it tells each collision and each wheel apart."""

import numpy as np

from racing.car import FloatArray
from racing.simulator import KERB_WIDTH, SimulatedCar
from racing.track import Track

PHYSICS_HZ = 333.0


class GameCar(SimulatedCar):
    """One simulated car; `place` puts it down, `collisions` counts."""

    def __init__(self, track: Track) -> None:
        super().__init__(track, 1, physics_hz=PHYSICS_HZ, start="line")
        self.collisions = 0
        self._in_wall = False

    @property
    def index(self) -> int:
        """The grid point of the track at or just before the car."""
        return int(self._index[0])

    @property
    def wheels_off(self) -> tuple[bool, ...]:
        """Which wheels (FL, FR, RL, RR) are beyond the kerb."""
        return tuple(bool(beyond > KERB_WIDTH) for beyond in self._beyond_edge[:, 0])

    def place(self, position: FloatArray, heading: float, speed: float = 0.0) -> None:
        """Put the car down at (2,) metres in the ground plane, rolling straight at m/s; undamaged, controls neutral."""
        one = np.zeros(1, np.int64)
        self._index = self.track.project(position[None]).index
        at = np.array([complex(position[0], position[1])])
        self._dynamics.restart(one, at, np.array([heading]), np.array([speed]))
        self._in_wall = False
        for values in (self._controls.steer, self._controls.throttle, self._controls.brake):
            values[:] = 0.0
        self._touch_ground()

    def advance(self, seconds: float) -> None:
        """Simulate; a touch of the wall counts once however long it lasts."""
        self._collided[:] = False
        super().advance(seconds)
        touched = bool(self._collided[0])
        self.collisions += touched and not self._in_wall
        self._in_wall = touched

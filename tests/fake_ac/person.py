"""A person who can drive: laps the fake game's track with wheel and pedals, as the reference driver would."""

from racing.car import CarState
from racing.reference_driver import ReferenceDriver
from racing.track import Track
from racing.vehicle import Vehicle
from tests.fake_ac.inputs import Wish

_LOOK_EVERY = 7
"""Physics steps between two looks at the road; nobody steers 333 times a second."""


class Person:
    """Drives at `pace`, a share of the reference driver's speed."""

    def __init__(self, track: Track, vehicle: Vehicle, pace: float) -> None:
        self._driver = ReferenceDriver(track, vehicle, pace=pace)
        self._steps, self._wish = 0, Wish()

    def wish(self, state: CarState) -> Wish:
        """What he asks for in this state; to be called every physics step."""
        if self._steps % _LOOK_EVERY == 0:
            controls = self._driver.controls(state)
            steer, gas, brake = (float(each[0]) for each in (controls.steer, controls.throttle, controls.brake))
            self._wish = Wish(steer=-steer, gas=gas, brake=brake)
        self._steps += 1
        return self._wish

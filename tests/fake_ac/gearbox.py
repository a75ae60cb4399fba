"""The gearbox between the driver and the simulated car, which alone would always shift by itself.

Promises the game's numbers (0 reverse, 1 neutral, 2 first), neutral until a gear is taken, gear buttons that count when
they go down, and what CSP's flags are for: without autoclutch the car neither starts nor changes gear.
"""

import math

from racing.vehicle import Vehicle
from tests.fake_ac.inputs import Wish

NEUTRAL, FIRST = 1, 2
_STANDING = 2.0
"""m/s below which a clutch is needed to move off."""


class Gearbox:
    """Knows the gear and how much of the gas reaches the wheels. Attributes: gear, rpm."""

    def __init__(self, vehicle: Vehicle) -> None:
        self._vehicle = vehicle
        self._held = (False, False)
        self.gear = NEUTRAL
        self.rpm = vehicle.idle_rpm

    def to_neutral(self) -> None:
        """Take the gear out, as where a car is put into the pits."""
        self.gear = NEUTRAL
        self.rpm = self._vehicle.idle_rpm

    def drive(self, wish: Wish, own_gear: int, own_rpm: float, speed: float, wheel_speed: float) -> float:
        """The gas (0 to 1) for the simulated car; `own_gear` is the one (1 first) that it would take by itself.

        speed in m/s, wheel_speed of the driven wheels in rad/s.
        """
        vehicle = self._vehicle
        up, down = wish.gear_up and not self._held[0], wish.gear_down and not self._held[1]
        self._held = wish.gear_up, wish.gear_down
        if (up or down) and wish.autoclutch_on_change:
            self.gear = min(max(self.gear + up - down, NEUTRAL), NEUTRAL + len(vehicle.gear_ratios))
        if self.gear == NEUTRAL and wish.takes_first and wish.gas > 0.0:
            self.gear = FIRST
        if self.gear == NEUTRAL:
            self.rpm = vehicle.idle_rpm + wish.gas * (vehicle.limit_rpm - vehicle.idle_rpm)
            return 0.0
        if speed < _STANDING and not wish.autoclutch_on_start:
            self.rpm = 0.0
            return 0.0
        if wish.automatic:
            self.gear, self.rpm = own_gear + 1, own_rpm
            return wish.gas
        ratio, own_ratio = vehicle.gear_ratios[self.gear - 2], vehicle.gear_ratios[own_gear - 1]
        self.rpm = max(wheel_speed * ratio * 30.0 / math.pi, vehicle.idle_rpm)
        return 0.0 if self.rpm > vehicle.limit_rpm else wish.gas * min(1.0, ratio / own_ratio)

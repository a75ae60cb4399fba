"""Turns the game's pages into the CarState that the task knows: SI units, the ground plane, one car.

Promises None for what the source does not report, and no state of values that are no numbers. What the official
description leaves open is assumed here and nowhere else; ASSUMPTIONS lists each with its source and with what
contradicts it, which assumptions.py finds in the snapshots of a driven minute. It reads no memory and knows no backend.
"""

from dataclasses import dataclass

import numpy as np

from bridge.assetto_corsa.reading.axes import ground_heading, plane_vector
from bridge.assetto_corsa.reading.layout import CarData, Physics
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import Snapshot
from racing.car import CarState, FloatArray, body_velocity

STANDARD_GRAVITY = 9.80665
"""m/s^2 in one g."""
_STANDING = 0.5
"""m/s below which the pages cannot be apart: what is drawn lags behind the physics by a picture."""
_PICTURE = 0.1
"""s that what is drawn may lag behind."""
_CAR_LENGTH = 5.0
FULL_LOCK = 1.0
"""What steerAngle reads at full lock: see ASSUMPTIONS."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something that we take for true about the pages: what, from where we have it, and what would show it wrong."""

    name: str
    what: str
    source: str
    contradicted_by: str


ASSUMPTIONS = (
    Assumption(
        "heading",
        "heading grows clockwise seen from above and is 0 along the world's +z",
        "axes.py: two recorded laps, where velocity and heading agree to 0.004 rad in the median",
        "a car going straight whose world velocity and heading differ",
    ),
    Assumption(
        "yaw rate",
        "localAngularVel y is in rad/s and positive to the left",
        "the same laps: it is the derivative of minus the heading to 0.003 rad/s",
        "a heading that turns the other way, or by another amount, than localAngularVel y says",
    ),
    Assumption(
        "acceleration",
        "accG is what changes the velocity, in g, without gravity: z forward and x to the left",
        "CSP's wiki for z and x; public mods that replace the game's physics fill accG with the change of the world "
        "velocity over 9.806, turned into the car's axes, which are right-handed with y up: so x is to the left",
        "a bend in which speed times yaw rate and accG x have opposite signs",
    ),
    Assumption(
        "position",
        "the middle of the tyres' contact points is as fresh as the packet and fixed to the car; carCoordinates are of "
        "the picture before, and tell at a standstill where the car's own point is from there",
        "the official description: contact points are on the physics page, in world coordinates",
        "contact points that were never within a car's length of carCoordinates: then these are used",
    ),
    Assumption(
        "steering",
        "steerAngle is positive to the right and reads full_lock at full lock: 1 in the page, whatever the car's lock",
        "several readers scale it by the car's lock to get degrees; the in-game Python API and CSP's Car0 have degrees",
        "values beyond full_lock, or steering right while the car yaws left",
    ),
    Assumption(
        "slip",
        "only CSP's nd_slip has the scale of CarState; wheelSlip in the page has none that is documented",
        "CSP's wiki",
        "nd_slip far above 1 on a straight",
    ),
    Assumption(
        "collision",
        "carDamage grows with a hit unless the session's damage is off; CSP's collision_counter grows with every hit",
        "the official description; CSP's wiki",
        "aidMechanicalDamage of 0 without CSP's car data: then hits are not seen",
    ),
    Assumption(
        "wheels out",
        "numberOfTyresOut counts wheels beyond the track and its kerbs",
        "the official description; the game's own penalties count so",
        "CSP's wheels_valid_surface that names another number",
    ),
    Assumption(
        "time",
        "the game's time runs as ours does while LIVE; packetId counts packets, not time",
        "readers disagree between 60 and 333 packets a second, and recorded laps have about 100",
        "iCurrentTime that runs at another pace",
    ),
)


class StateUnusable(GameError):
    """The game wrote a value that is no number."""


class CarMoved(GameError):
    """The car has done what no car does by itself; `what` says so after "The car"."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The car {what}: the session was restarted, or the car brought to the pits. Driving begins anew from "
            "there."
        )


class StateReader:
    """Makes states of snapshots, and remembers what a single snapshot cannot tell: time, and hits since the reset.

    `full_lock` is what steerAngle reads at full lock to the right: 1 in the page, degrees in some mirrors of it.
    """

    def __init__(self, full_lock: float = FULL_LOCK) -> None:
        if not full_lock > 0.0:
            raise ValueError(f"full_lock is {full_lock}; it must be more than 0")
        self._full_lock = full_lock
        self._time = 0.0
        self._read_at: float | None = None
        self._collided = False
        self._damage: FloatArray | None = None
        self._hits: int | None = None
        # Where the car's own point is, seen from its tyres; a vector turns as a velocity does.
        self._from_contacts: FloatArray = np.zeros((1, 2))
        self._contacts_tell = False
        self._car_packet: int | None = None

    def state(self, snapshot: Snapshot) -> CarState:
        """The car as the snapshot has it; N is 1, time is that of driving since the first state.

        Raises:
            StateUnusable: a value that driving needs is NaN or infinite.
            CarMoved: the pages have the car at two places.
        """
        physics, car = snapshot.physics, snapshot.car
        heading = ground_heading([physics.heading])
        velocity = body_velocity(plane_vector([physics.velocity[0]], [physics.velocity[2]]), heading)
        state = CarState(
            time=np.array([self._passed(snapshot.read_at)]),
            position=self._position(snapshot, heading, float(np.hypot(*velocity[0]))),
            heading=heading,
            velocity=velocity,
            acceleration=STANDARD_GRAVITY * plane_vector([physics.accG[0]], [physics.accG[2]]),
            yaw_rate=np.array([physics.localAngularVel[1]]),
            steer=np.clip([-physics.steerAngle / self._full_lock], -1.0, 1.0),
            throttle=np.clip([physics.gas], 0.0, 1.0),
            brake=np.clip([physics.brake], 0.0, 1.0),
            engine_rpm=np.array([physics.rpms], np.float64),
            # The game counts 0 reverse, 1 neutral, 2 first.
            gear=np.array([physics.gear - 1], np.int64),
            wheel_slip=None if car is None else np.array([[wheel.nd_slip for wheel in car.wheels]]),
            wheel_load=np.array([physics.wheelLoad[:]]),
            wheel_angular_speed=np.array([physics.wheelAngularSpeed[:]]),
            wheels_out=np.clip(np.array([physics.numberOfTyresOut], np.int64), 0, 4),
            collided=np.array([self._hit(physics, car)]),
        )
        _check_numbers(state)
        return state

    def restart(self) -> None:
        """The car starts afresh: hits of before no longer count, and time stands still until the next state."""
        self._collided = False
        self._damage = self._hits = None
        self.interrupt()

    def interrupt(self) -> None:
        """Driving was interrupted (pause, menu): time stands still until the next state."""
        self._read_at = None

    def _passed(self, read_at: float) -> float:
        if self._read_at is not None:
            self._time += max(0.0, read_at - self._read_at)
        self._read_at = read_at
        return self._time

    def _position(self, snapshot: Snapshot, heading: FloatArray, speed: float) -> FloatArray:
        """(1, 2) m, of the same moment as the rest of the physics page wherever something tells it."""
        contacts, car = _contacts(snapshot.physics), snapshot.car
        moves = car is not None and car.packet_id != self._car_packet
        self._car_packet = None if car is None else car.packet_id
        if car is not None and moves:
            position = plane_vector([car.position[0]], [car.position[2]])
            apart = position - contacts
            if float(np.hypot(*apart[0])) < _CAR_LENGTH:
                self._contacts_tell = True
                self._from_contacts = body_velocity(apart, heading)
            return position
        drawn = plane_vector([snapshot.graphics.carCoordinates[0]], [snapshot.graphics.carCoordinates[2]])
        apart = drawn - contacts
        if float(np.hypot(*apart[0])) < _CAR_LENGTH + _PICTURE * speed:
            self._contacts_tell = True
            if speed < _STANDING:
                self._from_contacts = body_velocity(apart, heading)
        elif self._contacts_tell and np.isfinite(contacts).all():
            # Its tyres are there already, and the picture before shows it here.
            raise CarMoved(f"was moved by {np.hypot(*apart[0]):.0f} m at once")
        else:
            return drawn
        return contacts + body_velocity(self._from_contacts, -heading)

    def _hit(self, physics: Physics, car: CarData | None) -> bool:
        damage = np.array(physics.carDamage[:])
        if self._damage is not None:
            self._collided |= bool((damage > self._damage).any())
        # A repair is no hit, and what comes after it is measured from there.
        self._damage = damage
        if car is not None:
            if self._hits is not None:
                self._collided |= car.collision_counter != self._hits
            self._hits = car.collision_counter
        return self._collided


def _contacts(physics: Physics) -> FloatArray:
    """(1, 2) m, the middle of the tyres' contact points; not a number where the page has none, which is all zeros."""
    points = physics.tyreContactPoint
    if not any(any(point) for point in points):
        return np.full((1, 2), np.nan)
    return plane_vector([sum(point[0] for point in points) / 4.0], [sum(point[2] for point in points) / 4.0])


def _check_numbers(state: CarState) -> None:
    """Of everything that the source reports: one value that is no number makes all that is learned from it none."""
    for name in CarState.__dataclass_fields__:
        values = getattr(state, name)
        if values is not None and not np.isfinite(values).all():
            raise StateUnusable(
                f"The game reports a {name.replace('_', ' ')} that is no number, as it does while a car is being "
                "loaded or when a mod breaks its physics. If it stays so, restart the session or take another car."
            )

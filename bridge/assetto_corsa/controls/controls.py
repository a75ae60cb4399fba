"""How steering and pedals reach the game: what every way of doing it promises, the choice among them, and shaping.

Promises one meaning of the numbers (steer -1..1 with + to the left as in racing/, pedals 0..1, what is no number counts
as 0), that a way which does not work says in a sentence what to install or set, and that what shaping returns is an
action of the task, so that it can be recorded as what was applied. It touches no device: csp.py, gamepad.py and vjoy.py
do. It needs no numpy, because the process that guards the controls must start fast.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

GENTLE_BRAKE = 0.3
"""Brake of a car that nobody drives, 0 to 1: it stops, and does not lock its wheels or spin in a bend."""


class BackendUnavailable(RuntimeError):
    """These controls cannot be used; the text says why and what to install or set."""


class CannotTeleport(RuntimeError):
    """These controls steer a car and cannot put it anywhere."""


class NoBackend(RuntimeError):
    """None of the controls can be used; the text says why of each."""


class Button(StrEnum):
    """What a bound button asks of the game; the values are the names of the bindings in its controls.ini."""

    RESET_SESSION = "__CM_RESET_SESSION"
    START_SESSION = "__CM_START_SESSION"
    TO_PITS = "__CM_TO_PITS"
    GEAR_UP = "GEARUP"


class Command(NamedTuple):
    """What a driver asks of one car, in range: steer -1..1 (+ left), throttle 0..1, brake 0..1."""

    steer: float
    throttle: float
    brake: float


NEUTRAL = Command(0.0, 0.0, GENTLE_BRAKE)
"""What is commanded when nobody drives: roll out under a gentle brake."""
RELEASED = Command(0.0, 0.0, 0.0)
"""What is commanded while a human drives: nothing."""


class Vector(NamedTuple):
    """A vector in the game's axes: x, y (up), z; metres where it is a position."""

    x: float
    y: float
    z: float


class Backend(Protocol):
    """A way to control the game's car.

    Attributes: name: as the user names it; can_teleport: whether `teleport` puts the car somewhere; buttons: what
    `press` can ask for.
    """

    name: str
    can_teleport: bool
    buttons: frozenset[Button]

    def why_not(self) -> str | None:
        """Why these controls cannot be used and what to install or set; None when they can.

        It tries them for real, for at most a few seconds, with neutral controls, and lets go again unless they were
        open.
        """

    def open(self) -> None:
        """Take the controls, neutral; raises BackendUnavailable. Safe to call on open ones."""

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; out of range is clipped, what is no number counts as 0."""

    def neutral(self) -> None:
        """Let go of the throttle, steer straight, brake gently; does nothing on closed controls."""
        self.apply(*NEUTRAL)

    def close(self) -> None:
        """Leave the controls neutral and give them back; safe to call twice."""

    def teleport(self, position: Vector, direction: Vector) -> None:
        """Put the car at `position`, pointing along the unit vector `direction`; speed is 0 then.

        Returns before the game has done it. Raises CannotTeleport where `can_teleport` is false.
        """
        raise CannotTeleport(f"{self.name} cannot put the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button; raises KeyError for one that is not in `buttons`."""


Driver = TypeVar("Driver")


Choice = TypeVar("Choice", bound=Backend)


class Device(Backend, Generic[Driver]):
    """A virtual pad or joystick as a backend. It cannot teleport, and on closed controls it does nothing.

    What reaches its driver (`open`, `apply`, `neutral`, `press`) raises BackendUnavailable where that is gone.

    Args:
        make: plugs it in; raises BackendUnavailable where that fails.

    Attributes: bindings: the driver's numbers of the buttons, to be bound to these functions in the game.
    """

    bindings: ClassVar[Mapping[Button, int]]
    can_teleport = False

    def __init__(self, make: Callable[[], Driver]) -> None:
        self._make = make
        self._driver: Driver | None = None
        self.buttons = frozenset(self.bindings)

    def why_not(self) -> str | None:
        """Why it cannot be plugged in; None when it can."""
        return None if self._driver is not None else why_not(self)

    def open(self) -> None:
        """Plug it in, neutral, no button pressed."""
        if self._driver is None:
            self._driver = self._make()
            try:
                self._rest(self._driver)
                self.neutral()
            except BackendUnavailable:
                self.close()
                raise

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call."""
        if self._driver is not None:
            self._hold(self._driver, in_range(steer, throttle, brake))

    def close(self) -> None:
        """Leave it at rest and unplug it; safe to call twice, and with a driver that is gone."""
        driver, self._driver = self._driver, None
        if driver is not None:
            self._unplug(driver)

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button."""
        number = self.bindings[button]
        if self._driver is not None:
            self._press(self._driver, number, down)

    @abstractmethod
    def _rest(self, driver: Driver) -> None:
        """Let no button be pressed and nothing be moved from the next command on."""

    @abstractmethod
    def _hold(self, driver: Driver, command: Command) -> None: ...

    @abstractmethod
    def _press(self, driver: Driver, number: int, down: bool) -> None: ...

    @abstractmethod
    def _unplug(self, driver: Driver) -> None: ...


def in_range(steer: float, throttle: float, brake: float) -> Command:
    """The nearest command that a car can have; what is no number counts as 0."""
    return Command(_clipped(steer, -1.0), _clipped(throttle, 0.0), _clipped(brake, 0.0))


def why_not(backend: Backend, give_back: Callable[[], None] | None = None) -> str | None:
    """Open and close these controls, or give them back, to find out why they cannot be used; None when they can."""
    try:
        backend.open()
    except BackendUnavailable as unavailable:
        return str(unavailable)
    (give_back or backend.close)()
    return None


def choose_backend(order: Sequence[Choice]) -> Choice:
    """Open the first controls that work, in this order.

    Raises:
        NoBackend: none of them works; the text has a sentence about each.
    """
    reasons = []
    for backend in order:
        try:
            backend.open()
        except BackendUnavailable as unavailable:
            reasons.append(f"{backend.name}: {unavailable}")
            continue
        return backend
    raise NoBackend("The game's car cannot be controlled. One of these must be made to work. " + " ".join(reasons))


@dataclass(frozen=True, slots=True)
class ControlShaping:
    """Rate limits and smoothing of commands, as pure functions of time; the default changes nothing.

    It is off by default because a policy learns best when its action is what the car gets: SAC at 20 Hz with the task's
    smoothness penalty steers without it, and a hidden filter makes the same action have different effects. It exists
    for wheels with force feedback, for cars that dislike jumps of the pedals, and to repeat published work, whose
    actions are changes limited to 900 degrees and 12 pedals a second. Whoever switches it on must record what `shaped`
    returns, and not what was asked for, as the action; both pedals are one axis here (throttle less brake), as in the
    task, so that this is always possible.

    Attributes:
        steer_rate: most change of steering, full locks a second (1 is from straight to full lock); None: no limit.
        pedal_rate: most change of throttle less brake, full pedals a second; None: no limit.
        smoothing: time constant of a first-order low pass before the limits, s; 0: none.
    """

    steer_rate: float | None = None
    pedal_rate: float | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse limits that would hold the controls still; raises ValueError."""
        for name, rate in (("steer_rate", self.steer_rate), ("pedal_rate", self.pedal_rate)):
            if rate is not None and not rate > 0.0:
                raise ValueError(f"{name} is {rate}; it must be above 0, or None for no limit")
        if not (self.smoothing >= 0.0 and math.isfinite(self.smoothing)):
            raise ValueError(f"smoothing is {self.smoothing} s; it must be 0 or more")

    @property
    def on(self) -> bool:
        """Whether it changes anything."""
        return self != ControlShaping()

    def shaped(self, previous: Command, wanted: Command, seconds: float) -> Command:
        """What to apply now, `seconds` (not negative) after `previous` was applied, when `wanted` is asked for."""
        wanted = in_range(*wanted)
        if not self.on:
            return wanted
        pedals_before = previous.throttle - previous.brake
        steer = self._toward(previous.steer, wanted.steer, self.steer_rate, seconds)
        pedals = self._toward(pedals_before, wanted.throttle - wanted.brake, self.pedal_rate, seconds)
        return in_range(steer, max(pedals, 0.0), max(-pedals, 0.0))

    def _toward(self, previous: float, wanted: float, rate: float | None, seconds: float) -> float:
        change = wanted - previous
        if self.smoothing > 0.0:
            change *= -math.expm1(-seconds / self.smoothing)
        most = math.inf if rate is None else rate * seconds
        return previous + min(max(change, -most), most)


def _clipped(value: float, lowest: float) -> float:
    return min(max(value, lowest), 1.0) if value == value else 0.0

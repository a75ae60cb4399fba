"""The game's car while a human drives it: states are read, and nothing is ever sent to the game.

Promises no state of a car that CSP's Custom AI drives (another bridge has it then), and otherwise what car.py does: no
state in a pause, a menu or a replay, and none that joins another where the car was put elsewhere.
"""

from collections.abc import Callable

from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving
from bridge.assetto_corsa.controls.controls import Button, CannotTeleport, Vector
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.pages import GamePages
from racing.car import BoolArray, CarState, Controls

_BEARS_SECONDS = 1.0
"""A human drives on while the game or this PC stumbles: such a step took too long, and costs no lap."""
_CSP_DRIVES = (
    "A bridge drives the car through CSP's Custom AI, and the game ignores wheel and pedals. End that bridge, then "
    "restart the game's session."
)


class NoControls:
    """A backend that reaches nothing."""

    name = "none"
    can_teleport = False
    buttons: frozenset[Button] = frozenset()

    def why_not(self) -> str | None:
        """Nothing is in its way."""
        return None

    def open(self) -> None:
        """Take nothing."""

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Send nothing."""

    def neutral(self) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Nothing is held."""

    def teleport(self, position: Vector, direction: Vector) -> None:
        """It cannot."""
        raise CannotTeleport(f"nobody puts the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        """It has no buttons."""
        raise KeyError(button, down)


class WatchedCar:
    """One car that a human drives; implements racing's Car.

    `read` is the car's, `begin` has it forget the hits of before, `let_go` closes it.
    """

    count = 1

    def __init__(
        self, read: Callable[[], CarState], begin: Callable[[], None], let_go: Callable[[], None] = lambda: None
    ) -> None:
        self._read, self._begin, self._let_go = read, begin, let_go

    def read(self) -> CarState:
        """The state of a new packet; raises NotDriving when there is none, or no human drives."""
        return self._read()

    def apply(self, controls: Controls) -> None:
        """Send nothing: a human drives."""

    def advance(self, seconds: float) -> None:
        """Do nothing: the game's time passes by itself."""

    def reset(self, which: BoolArray) -> None:
        """Begin an episode where the car is."""
        if which[0]:
            self._begin()

    def close(self) -> None:
        """Let go of the game; safe to call twice."""
        self._let_go()


def human_car(pages: GamePages) -> WatchedCar:
    """The car of a game that no bridge drives; `pages` are closed with it."""
    car = AssettoCorsaCar(pages, NoControls(), start_afresh=lambda: None, bears=_BEARS_SECONDS)

    def read() -> CarState:
        state = car.read()
        if car.latest is not None and car.latest.car is not None:
            car.restart()
            raise NotDriving(_CSP_DRIVES, Status.LIVE)
        return state

    return WatchedCar(read, car.restart, car.close)

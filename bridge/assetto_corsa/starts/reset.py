"""Brings the game's car to a start, by a ladder of ways, and believes none of them before it has seen the result.

The ways, in this order, as far as the controls have them: a teleport onto the track (a random place, pointing along
it), the bound buttons that restart the session and dismiss its menu, the bound button for the pits. Promises that
`FreshStart` returns only when the game is LIVE and writes packets, the car stands (below STANDING m/s) where it was to
be, in a forward gear, with neutral controls; that every way has a time limit on a monotonic clock; and that the end is
GameDoesNotAnswer, which tells the user what was tried. It starts no game.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.assetto_corsa.controls.controls import NEUTRAL, Backend, Button, Vector
from bridge.assetto_corsa.reading.axes import game_direction, game_position, ground_heading, plane_vector
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.starts.starts import Start, Starts
from runtime.logs import fields

STANDING = 1.0
"""m/s; below it a car stands (it may still settle on its springs)."""
NEAR = 5.0
"""m from the place that was asked for: the game moves a car to where it finds ground and no other car."""
ON_LEVEL = 3.0
"""m of height: below it is another level of a road that crosses itself; lines and cars are measured differently."""
MOVED = 3.0
"""m; what stands still does not move so far."""
PRESS_SECONDS = 0.8
"""A button is held for so long: Content Manager takes restarts only from buttons that are held for half a second."""
_ALMOST_NONE = 0.05
_STILL_SECONDS = 1.0
_POLL_SECONDS = 0.01
_ASK_AGAIN_SECONDS = 0.3
"""CSP sees a teleport for a moment only; a game that hangs then has missed it."""
_NOT_BEGUN_SECONDS = 2.0
"""A lap clock below it has hardly begun: it may not be seen to jump back, for it runs on while the button that leaves
the menu is held (PRESS_SECONDS)."""
_UNMOVED_SECONDS = 3.0
"""For so long a restart must have had no effect before a car that stands at the start is taken for restarted."""
_SHIFT_SECONDS = 0.1
_THROTTLE_AFTER_SECONDS = 1.0
_SHIFT_THROTTLE = 0.2
"""The game's automatic gearbox takes the first gear when the throttle is touched; the brake holds the car."""
_SETTLE_SECONDS = 0.1
"""What is seen counts when it stays so: the pages are not written together, one may still hold the place before."""
_NO_PACKETS = "the game writes no new packets"

_log = logging.getLogger(__name__)


class GameDoesNotAnswer(GameError):
    """No way of bringing the car to a start has worked; the text says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long it may take, s, until the game is LIVE, a teleported car is at its place, it stands ready, and a restart
    shows; and how many places may be tried.
    """

    live: float = 2.0
    place: float = 2.0
    stand: float = 5.0
    restart: float = 15.0
    places: int = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """What a reset looks at: SI units, the ground plane and signs of racing/; gear 0 is neutral, from 1 on forward."""

    status: Status
    packet: int
    position: tuple[float, float]
    elevation: float
    heading: float
    speed: float
    gear: int
    steer: float
    throttle: float
    brake: float
    lap_clock: float
    in_pits: bool = False


def sight_of(pages: GamePages) -> Sight:
    """What the running game's pages hold now; raises GameError."""
    snapshot = pages.read()
    physics, graphics = snapshot.physics, snapshot.graphics
    x, elevation, z = graphics.carCoordinates if snapshot.car is None else snapshot.car.position
    ground = plane_vector(x, z)
    return Sight(
        status=snapshot.status,
        packet=physics.packetId,
        position=(float(ground[0]), float(ground[1])),
        elevation=elevation,
        heading=float(ground_heading(physics.heading)),
        speed=physics.speedKmh / 3.6,
        gear=physics.gear - 1,
        steer=-physics.steerAngle,
        throttle=physics.gas,
        brake=physics.brake,
        lap_clock=graphics.iCurrentTime / 1000.0,
        in_pits=bool(graphics.isInPit or graphics.isInPitLane),
    )


Check = Callable[[Sight], str | None]
"""What is still missing, in words; None when nothing is."""


class FreshStart:
    """Brings the car to a start when it is called.

    Args:
        look: what is so now, without waiting; raises GameError where nothing can be seen.
        backend: open controls; neutral before and after.
        starts: where to begin; None where the backend cannot teleport.
        now, sleep: a monotonic clock (s) and the wait.

    Attributes: way: which one brought the car to its latest start, or empty; start: where it was teleported, or None.
    """

    def __init__(
        self,
        look: Callable[[], Sight],
        backend: Backend,
        starts: Starts | None,
        limits: Limits | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._look_now, self._backend, self._starts = look, backend, starts
        self._limits = limits or Limits()
        self._now, self._sleep = now, sleep
        # Which way the game turns teleport_dir is not documented, and mods contradict each other: it is found out.
        self._direction_sign = 1.0
        self._packet, self._packet_at = -1, -math.inf
        # Where a restart has brought the car; it may stand there already when the next one is asked for.
        self._grid: Sight | None = None
        self.way = ""
        self.start: Start | None = None

    def __call__(self) -> None:
        """Return with the car at a start; raises GameDoesNotAnswer."""
        self._packet, self._packet_at = -1, self._now()
        self.start = None
        tried = []
        for way, button in (("teleport", None), ("restart", Button.RESET_SESSION), ("pits", Button.TO_PITS)):
            began = self._now()
            missing = self._teleport() if button is None else self._by_button(button)
            if missing is None:
                self.way = way
                _log.debug("car at a start", extra=fields(way=way, seconds=self._now() - began))
                return
            tried.append(f"{way}: {missing}")
            _log.info("a way to a start failed", extra=fields(way=way, why=missing))
        self._backend.neutral()
        raise GameDoesNotAnswer(
            f"the game does not answer: the car could not be brought to a start ({'; '.join(tried)}). Look at the "
            "game: leave its menu with Drive, or start a session; then start driving here again."
        )

    def _teleport(self) -> str | None:
        if not self._backend.can_teleport or self._starts is None:
            return f"{self._backend.name} cannot do it"
        missing = self._wait(_nothing_more, self._limits.live)
        if missing is not None:
            return missing
        for _ in range(self._limits.places):
            missing = self._put(self._starts.draw())
            if missing is None:
                break
        return missing

    def _put(self, start: Start) -> str | None:
        """Put the car at `start`; what is missing after that."""
        missing = self._place(start)
        if missing is None and math.cos(self._look().heading - start.heading) < 0.0:
            self._direction_sign = -self._direction_sign
            missing = self._place(start)
        if missing is None:
            missing = self._stand(lambda sight: _away_from(start, sight) or _askew(start, sight))
        if missing is None:
            self.start = start
        return missing

    def _place(self, start: Start) -> str | None:
        x, z = map(float, game_position(np.array(start.position)))
        look_x, look_z = (self._direction_sign * float(each) for each in game_direction(start.heading))
        position, direction = Vector(x, start.elevation, z), Vector(look_x, 0.0, look_z)
        self._backend.teleport(position, direction)
        asked = self._now()

        def there(sight: Sight) -> str | None:
            nonlocal asked
            missing = _away_from(start, sight)
            if missing is not None and self._now() - asked >= _ASK_AGAIN_SECONDS:
                self._backend.teleport(position, direction)
                asked = self._now()
            return missing

        return self._wait(there, self._limits.place, settle=_SETTLE_SECONDS)

    def _by_button(self, button: Button) -> str | None:
        """Press it, dismiss the menu that may follow, and see that the car was moved to where sessions start."""
        if button not in self._backend.buttons:
            return f"{self._backend.name} has no button for it"
        try:
            before = self._look()
        except GameError as error:
            return str(error)
        pressed = self._now()
        shown_else = False

        def anew(sight: Sight) -> str | None:
            nonlocal shown_else
            shown_else = shown_else or sight.status is not Status.LIVE
            if self._began_anew(button, before, sight, shown_else, self._now() - pressed):
                return None
            return f"nothing has happened after the button {button.value}; is it bound in the game?"

        self._press(button)
        missing = self._wait(lambda sight: None if shown_else else anew(sight), self._limits.restart, live=False)
        if missing is None:
            missing = self._wait(_nothing_more, self._limits.live)
            if missing is not None and Button.START_SESSION in self._backend.buttons:
                self._press(Button.START_SESSION)
                missing = self._wait(_nothing_more, self._limits.restart)
        # A pause is no restart: only a game that is LIVE again shows what has become of the car.
        missing = missing or self._wait(anew, self._limits.live) or self._stand(_nothing_more)
        if missing is None and button is Button.RESET_SESSION:
            self._grid = self._look()
        return missing

    def _began_anew(self, button: Button, before: Sight, sight: Sight, shown_else: bool, waited: float) -> bool:
        """Whether the car is where this button brings it, by what was seen before it was pressed.

        `shown_else`: the game was not LIVE in between; `waited`: s since the button was pressed.
        """
        if sight.lap_clock < before.lap_clock or math.dist(sight.position, before.position) > MOVED:
            return True
        if button is Button.TO_PITS:
            return sight.in_pits
        # A car that stands where sessions start does not move when one does, and its clock has not begun.
        known = self._grid is not None and math.dist(sight.position, self._grid.position) <= NEAR
        fresh = before.lap_clock < _NOT_BEGUN_SECONDS and before.speed < STANDING
        return (known and waited > _UNMOVED_SECONDS) or ((known or fresh) and shown_else)

    def _press(self, button: Button) -> None:
        until = self._now() + PRESS_SECONDS
        self._backend.press(button, True)
        try:
            while self._now() < until:
                self._backend.neutral()
                self._sleep(_POLL_SECONDS)
        finally:
            # Whatever ends a start (the panic key, Ctrl-C): a button that stays down restarts the session later.
            self._backend.press(button, False)

    def _stand(self, check: Check) -> str | None:
        """Wait until the car stands in a forward gear with neutral controls; what is missing after that."""
        began = self._now()

        def standing(sight: Sight) -> str | None:
            if sight.speed >= STANDING:
                return f"the car moves at {sight.speed:.1f} m/s instead of standing"
            if sight.gear < 1:
                self._shift(self._now() - began)
                return "the car is not in a forward gear; switch the automatic gearbox on in the game"
            if sight.throttle > _ALMOST_NONE or abs(sight.steer) > _ALMOST_NONE:
                return "the game shows throttle or steering where none is commanded: somebody touches the controls"
            if sight.brake > NEUTRAL.brake + _ALMOST_NONE:
                return "the game shows more brake than is commanded: somebody touches the controls"
            return check(sight)

        try:
            return self._wait(standing, self._limits.stand, settle=_SETTLE_SECONDS)
        finally:
            if Button.GEAR_UP in self._backend.buttons:
                self._backend.press(Button.GEAR_UP, False)

    def _shift(self, waited: float) -> None:
        """Ask for the first gear: by the button, pressed in turns; where that is not bound, by a little throttle."""
        if Button.GEAR_UP in self._backend.buttons:
            self._backend.press(Button.GEAR_UP, int(waited / _SHIFT_SECONDS) % 2 == 1)
        if waited > _THROTTLE_AFTER_SECONDS:
            self._backend.apply(0.0, _SHIFT_THROTTLE, NEUTRAL.brake)

    def _wait(self, check: Check, seconds: float, live: bool = True, settle: float = 0.0) -> str | None:
        """Hold neutral until nothing is missing for `settle` s, or for `seconds`; what is missing then."""
        since = self._now()
        until = since + seconds
        first: int | None = None
        while True:
            self._backend.neutral()
            try:
                sight = self._look()
                missing = (self._blocked(sight) if live else None) or check(sight)
                # What a dead game left behind looks like a living one until no packet follows.
                if first is None:
                    first = sight.packet
                if missing is None and live and sight.packet == first:
                    missing = _NO_PACKETS
            except GameError as error:
                missing = str(error)
            now = self._now()
            if missing is not None:
                since = now
            if now >= until or (missing is None and now - since >= settle):
                return missing
            self._sleep(_POLL_SECONDS)

    def _look(self) -> Sight:
        sight = self._look_now()
        if sight.packet != self._packet:
            self._packet, self._packet_at = sight.packet, self._now()
        return sight

    def _blocked(self, sight: Sight) -> str | None:
        if sight.status is not Status.LIVE:
            return f"the game shows {_SHOWN[sight.status]}"
        return _NO_PACKETS if self._now() - self._packet_at > _STILL_SECONDS else None


_SHOWN = {Status.OFF: "a menu", Status.REPLAY: "a replay", Status.PAUSE: "its pause"}


def _nothing_more(_sight: Sight) -> str | None:
    return None


def _away_from(start: Start, sight: Sight) -> str | None:
    away = math.dist(start.position, sight.position)
    if away > NEAR:
        return f"the car is {away:.0f} m from where it was put"
    height = sight.elevation - start.elevation
    if abs(height) > ON_LEVEL:
        return f"the car is {abs(height):.0f} m {'above' if height > 0.0 else 'below'} where it was put"
    return None


def _askew(start: Start, sight: Sight) -> str | None:
    return "the car does not point along the track" if math.cos(sight.heading - start.heading) < 0.8 else None

"""Finds the running game and puts together what drives its car: track, controls with their guard, starts, safety.

Promises that nothing is driven before the game is LIVE, that the track is the one that the game drives on, and that
what is missing is told in a sentence. While it waits for the user (a menu, a pause, with `wait` the game itself), it
says so every 10 s.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from bridge.assetto_corsa.by_hand import WatchedCar, human_car
from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving
from bridge.assetto_corsa.controls.controls import Backend, ControlShaping, NoBackend, choose_backend
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.guard import BACKENDS
from bridge.assetto_corsa.controls.safety import SafetyGate, Tolerance, front_watch, panic_switch
from bridge.assetto_corsa.controls.supervisor import Supervised
from bridge.assetto_corsa.files.csp_settings import custom_ai_switch
from bridge.assetto_corsa.files.fast_lane import read_fast_lane
from bridge.assetto_corsa.files.install import InstallError, find_fast_lane, find_install, installed_track
from bridge.assetto_corsa.guarded_car import GuardedCar
from bridge.assetto_corsa.reading.layout import Static, Status, text
from bridge.assetto_corsa.reading.memory import GameError, GameNotRunning
from bridge.assetto_corsa.reading.pages import GamePages, Snapshot
from bridge.assetto_corsa.starts.reset import FreshStart, sight_of
from bridge.assetto_corsa.starts.rolling import RollingStart
from bridge.assetto_corsa.starts.starts import LineElevation, Starts
from racing.track import Track, TrackError, parse_track
from runtime.logs import fields

SAY_SECONDS = 10.0
ALIVE_SECONDS = 0.3
"""A game that draws pictures has written something within so long, be it in a pause."""
_LIFELESS_SECONDS = 2.0
_LOOK_SECONDS = 0.05
CSP_SECONDS = 30.0
"""For so long CSP is asked to take the car over, where it should; a game that has just become LIVE may need it."""
_ASK_AGAIN_SECONDS = 0.5
_log = logging.getLogger(__name__)


class BackendKind(StrEnum):
    """How steering and pedals reach the game.

    AUTO is CSP where its settings switch Custom AI on; else it tries the others in this order.
    """

    AUTO = "auto"
    CSP = "csp"
    GAMEPAD = "gamepad"
    VJOY = "vjoy"


class Stopped(RuntimeError):
    """The user stopped while the game was waited for."""


@dataclass(frozen=True, slots=True)
class GameSettings:
    """What the user chose.

    Attributes:
        root: the game's folder; None to look for it.
        track: a CSV file in place of the game's own line; None for that.
        wait: for a game that does not run yet, and as long as it takes for CSP's answer.
        panic_key: as panic_switch names it.
        yield_to_human: let go when somebody steers or brakes, where the game shows it: not with CSP.
        need_window: drive only while the game's window is in front.
    """

    root: Path | None = None
    track: str | None = None
    backend: BackendKind = BackendKind.AUTO
    wait: bool = False
    panic_key: str = "end"
    yield_to_human: bool = True
    need_window: bool = True
    shaping: ControlShaping = field(default_factory=ControlShaping)


@dataclass(frozen=True, slots=True)
class GameSession:
    """A game that can be driven; `check` raises GameError when it is not the same any more, and episodes begin with
    `rolling`, None for standing. `model` names the car.
    """

    track: Track
    car: GuardedCar
    check: Callable[[], None]
    shaping: ControlShaping
    rolling: RollingStart | None
    model: str = ""


@dataclass(frozen=True, slots=True)
class WatchedSession:
    """A game that a human drives; `model` names his car, `check` is as in GameSession."""

    track: Track
    car: WatchedCar
    check: Callable[[], None]
    model: str


class GameUnclear(GameError):
    """The game's shared memory is here, and whether it runs cannot be told from it; the text says what to do."""


def game_runs() -> bool:
    """Whether a game writes its shared memory now. Takes up to ALIVE_SECONDS.

    Raises:
        GameUnclear: it lies there and nothing writes it, or it cannot be read.
    """
    why = "nothing writes it: the game shows a menu, loads or hangs, or another tool or a game that is gone has left it"
    try:
        with GamePages(csp=False) as pages:
            first, until = _packets(pages.read()), time.monotonic() + ALIVE_SECONDS
            while time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
                if _packets(pages.read()) != first:
                    return True
    except GameNotRunning:
        return False
    except GameError as error:
        why = f"it cannot be read: {error}"
    raise GameUnclear(
        f"The shared memory of Assetto Corsa is here, but {why}. Say what to drive: --car assetto-corsa (which waits "
        "for it) or --car simulated."
    )


def _packets(snapshot: Snapshot) -> tuple[int, int]:
    return snapshot.physics.packetId, snapshot.graphics.packetId


def opened_session(settings: GameSettings, stop: threading.Event, seed: int | None = None) -> GameSession:
    """Wait until the game is LIVE, take its controls, and return what drives it; `car` must be closed.

    To be called in the main thread.

    Raises:
        GameError: it does not run, or its memory cannot be read.
        TrackError, InstallError: its track is not known.
        NoBackend (controls.py): its car cannot be controlled.
        Stopped: `stop` was set meanwhile.
    """
    panic, in_front = panic_switch(settings.panic_key), front_watch()
    pages = GamePages()
    asked = _Asked(settings)
    try:
        while True:
            _await_live(pages, settings.wait, stop)
            static = pages.static()
            name, layout, model = text(static.track), text(static.trackConfiguration), text(static.carModel)
            track, elevation = _track(settings, name, layout, float(static.trackSPlineLength))
            if (backend := asked.controls()) is not None:
                break
            stop.wait(_ASK_AGAIN_SECONDS)
    except BaseException:
        pages.close()
        raise
    starts = Starts(track, elevation, seed) if elevation is not None and backend.can_teleport else None
    _log.info(
        "the game is driven",
        extra=fields(track=name, layout=layout, metres=track.length, controls=backend.name, teleports=bool(starts)),
    )

    def patiently(seconds: float) -> None:
        """Sleep within a start, which takes seconds, unless it must end."""
        if panic():
            raise NotDriving("The panic key was hit; start the bridge again to drive on.", Status.LIVE)
        if settings.need_window and in_front() is False:
            raise NotDriving("The policy does not drive: the game's window is not in front.", Status.LIVE)
        if stop.is_set():
            raise NotDriving("The bridge is about to end.", Status.LIVE)
        time.sleep(seconds)

    start = FreshStart(lambda: sight_of(pages), backend, starts, sleep=patiently)
    # The game ignores wheel and pedals while CSP has its car: there is nobody to be seen, only to be mistaken.
    visible = settings.yield_to_human and backend.name != CustomAI.name
    gate = SafetyGate(panic, in_front, settings.need_window, Tolerance() if visible else None)
    car = GuardedCar(AssettoCorsaCar(pages, backend, start, ask_again=backend.renew), backend, gate)
    rolling = None if starts is None else RollingStart(starts, lambda: start.start)
    return GameSession(track, car, lambda: _check_same(static, pages.static()), settings.shaping, rolling, model)


def watched_session(settings: GameSettings, stop: threading.Event) -> WatchedSession:
    """Wait until the game is LIVE, and return what watches its car, which must be closed; takes no controls.

    Raises as `opened_session` does, but NoBackend.
    """
    pages = GamePages()
    try:
        _await_live(pages, settings.wait, stop)
        static = pages.static()
        name, layout, model = text(static.track), text(static.trackConfiguration), text(static.carModel)
        track, _ = _track(settings, name, layout, float(static.trackSPlineLength))
    except BaseException:
        pages.close()
        raise
    _log.info("the game is watched", extra=fields(track=name, layout=layout, metres=track.length, car=model))
    return WatchedSession(track, human_car(pages), lambda: _check_same(static, pages.static()), model)


def _check_same(then: Static, now: Static) -> None:
    """Raises GameError for another track or car."""
    if (text(now.track), text(now.trackConfiguration)) != (text(then.track), text(then.trackConfiguration)):
        raise GameError(
            f"The game is on another track now ({text(now.track)} {text(now.trackConfiguration)}) than at the "
            f"start ({text(then.track)} {text(then.trackConfiguration)}). Start the bridge again to drive there."
        )
    if text(now.carModel) != text(then.carModel):
        raise GameError(
            f"The game drives another car now ({text(now.carModel)}) than at the start ({text(then.carModel)}), and "
            "what is learned of one is wrong for the other. Start the bridge again to drive it."
        )


class _Asked:
    """Asks for the controls that the settings name, CSP's again and again where they are the ones to have."""

    def __init__(self, settings: GameSettings) -> None:
        kind = chosen_backend(settings.backend, settings.root)
        if kind is not settings.backend:
            _log.info("Custom AI is switched on in CSP's settings: it is to drive; --backend names other controls")
        self._only_csp = kind is BackendKind.CSP
        self._order = [Supervised(each) for each in backends(kind)]
        self._until = math.inf if settings.wait else time.monotonic() + CSP_SECONDS
        self._say_at = 0.0

    def controls(self) -> Supervised | None:
        """Open controls; None when CSP does not answer yet, which then finds a new page. Raises NoBackend."""
        try:
            return choose_backend(self._order)
        except NoBackend as none:
            if not self._only_csp:
                raise
            if time.monotonic() >= self._until:
                raise NoBackend(
                    f"{none} Asked for {CSP_SECONDS:g} s (with --wait, until it answers); a virtual pad that is bound "
                    "in the game is taken with --backend gamepad or vjoy."
                ) from none
            if time.monotonic() >= self._say_at:
                _log.info(f"waiting for CSP to take the car over, which is asked again and again. {none}")
                self._say_at = time.monotonic() + SAY_SECONDS
        return None


def _await_live(pages: GamePages, wait: bool, stop: threading.Event) -> None:
    """Return when the game is LIVE and a new packet was seen; with `wait`, whatever is wrong with it until then."""
    said: str | None = None
    seen: tuple[int, int] | None = None
    say_at = seen_at = 0.0
    while not stop.is_set():
        now = time.monotonic()
        try:
            snapshot = pages.read()
            before, seen = seen, _packets(snapshot)
            if snapshot.status is Status.LIVE and before is not None and seen[0] != before[0]:
                return
            if seen != before:
                seen_at = now
            why = _why_not_live(snapshot.status, now - seen_at > _LIFELESS_SECONDS)
        except GameNotRunning as absent:
            if not wait:
                raise GameNotRunning(f"{absent} With --wait, it is waited for.") from absent
            seen, why = None, "the game: start it, and a session in it"
        except GameError as error:
            if not wait:
                raise
            seen, why = None, f"the game. {error}"
        if why is not None and (why != said or now >= say_at):
            _log.info(f"waiting for {why}")
            said, say_at = why, now + SAY_SECONDS
        stop.wait(_LOOK_SECONDS)
    raise Stopped


def _why_not_live(shown: Status, lifeless: bool) -> str | None:
    """What is waited for; None between two packets of a game that is LIVE."""
    game = "the game" if shown is Status.LIVE else f"the game, which shows {_SHOWN[shown]}"
    if lifeless:
        return f"{game}: it writes nothing, so it hangs, or is gone; if it stays so, start it again"
    return None if shown is Status.LIVE else game


_SHOWN = {
    Status.OFF: "a menu; start the session with its Drive button",
    Status.REPLAY: "a replay; leave it",
    Status.PAUSE: "its pause",
}


def _track(settings: GameSettings, name: str, layout: str, length: float) -> tuple[Track, LineElevation | None]:
    """The track, and the road's height along it where the game's line says it."""
    own = None if settings.track is None else parse_track(settings.track)
    try:
        root = find_install(settings.root)
        lane = read_fast_lane(find_fast_lane(root, name, layout))
    except (TrackError, InstallError) as error:
        if own is None:
            raise
        _log.warning("the car cannot be teleported without the game's line", extra=fields(reason=error))
        return own, None
    track = installed_track(root, name, layout, length) if own is None else own
    return track, LineElevation(lane.line, lane.elevation)


def chosen_backend(kind: BackendKind, root: Path | None) -> BackendKind:
    """What AUTO means with the game in this folder, None to look for it: CSP where its settings switch Custom AI on."""
    with suppress(InstallError):
        if kind is BackendKind.AUTO and custom_ai_switch(find_install(root)).on:
            return BackendKind.CSP
    return kind


def backends(kind: BackendKind) -> list[Backend]:
    """The controls of this kind, closed and unguarded; all of them, in their order, for AUTO."""
    return [make() for name, make in BACKENDS.items() if kind in (BackendKind.AUTO, name)]

"""Where streamed states come from: the game while somebody drives it, recorded laps, the reference driver.

All come in real time, at most `rate` a second. Nothing is ever sent to the game.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.session import GameSettings, WatchedSession, watched_session
from bridge.driving.garage import check_on_track
from bridge.driving.lap_sources import PAGES, played_pages, reference_states
from racing.car import CarState
from racing.clock import RealTimeClock
from racing.lap import played_states
from racing.recorded_car import PlayedCar, RecordedCar
from racing.track import Track, parse_track

_CONTROL_HZ = 50.0
"""How often the reference driver steers, however few states are streamed."""
_SECONDS = 30 * 86_400.0
"""For so long he drives, at most."""


@dataclass(frozen=True, slots=True)
class Source:
    """States of one car on `track`, in real time; None where what follows does not join what was.

    `ends`: they end by themselves; else with `stop`. `close` lets go of what is read.
    """

    track: Track
    states: Iterator[CarState | None]
    ends: bool = False
    close: Callable[[], None] = lambda: None


def game(settings: GameSettings, rate: float, stop: threading.Event) -> Source:
    """The game's car. Raises as `watched_session` does; its states raise GameError when the game is another one."""
    session = watched_session(settings, stop)
    return Source(session.track, _watched(session, rate, stop), close=session.car.close)


def recording(file: Path, track: str, root: Path | None, rate: float, stop: threading.Event) -> Source:
    """A recording, once; arguments as of `played_pages`. Raises SettingsError and what UNUSABLE names."""
    car: PlayedCar
    if file.suffix == PAGES:
        car, driven, _ = played_pages(file, rate, track, root)
    else:
        car, driven = RecordedCar(file), parse_track(track)
        check_on_track(car, driven, file, track)
    return Source(driven, in_real_time(played_states(car), rate, stop), ends=True)


def reference(track: str, rate: float, stop: threading.Event) -> Source:
    """A simulated car that the reference driver drives. Raises TrackError."""
    driven = parse_track(track)
    states = reference_states(driven, 1.0, max(rate, _CONTROL_HZ), _SECONDS)
    return Source(driven, in_real_time(states, rate, stop))


def in_real_time(states: Iterable[CarState | None], rate: float, stop: threading.Event) -> Iterator[CarState | None]:
    """Each at its time, `rate` a second of them at most, until `stop`."""
    due = first = None
    began = time.monotonic()
    for state in states:
        if state is None:
            yield None
            continue
        at = float(state.time[0])
        if first is None or due is None:
            first = due = at
        if at < due - 1e-6:
            continue
        due = max(due + 1.0 / rate, at)
        if stop.wait(max(0.0, at - first - (time.monotonic() - began))):
            return
        yield state


def _watched(session: WatchedSession, rate: float, stop: threading.Event) -> Iterator[CarState | None]:
    clock, joins = RealTimeClock(1.0 / rate), False
    clock.start()
    while not stop.is_set():
        clock.tick()
        try:
            if not joins:
                session.check()
                session.car.reset(np.ones(1, np.bool_))
            state = session.car.read()
        except NotDriving:
            joins = False
            yield None
            continue
        joins = True
        yield state

"""Builds a drive that is a demonstration, as garage.py does one of a policy: who shows it, on what track, for what run.

Whatever makes it worthless is found here, before anything is dialled or spooled, and told in a sentence: another track,
another car than the run's, another control rate, a recording in which nobody drives.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.assetto_corsa.by_hand import WatchedCar
from bridge.assetto_corsa.session import watched_session
from bridge.driving.clean_laps import CleanLaps
from bridge.driving.demonstration import HumanDriver, ShownDriver
from bridge.driving.drive import Drive, Driver, RecordingDriver
from bridge.driving.garage import (
    UNUSABLE,
    Settings,
    SettingsError,
    connected,
    exit_code_of,
    recorded_car_and_task,
    task_config,
)
from bridge.driving.lap_sources import PAGES as PAGES
from bridge.driving.lap_sources import played_pages
from bridge.spool import Spool
from experience import environment
from racing.car import Car
from racing.clock import RealTimeClock
from racing.driving import Lookout, VectorDriving
from racing.evaluation import reference_actions
from racing.recorded_car import PlayedCar
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track, parse_track
from wire.pairing import Pairing

_ENDLESS_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What the user chose beside `Settings`, whose `track` may be empty for that of the game.

    Attributes:
        laps: end after so many that were taken; None to go on.
        pace: of the reference driver, share of his speed.
        new_car: the run is about another car of the game than the one that was driven for it last.
        root: the game's folder, for the track of a recording; None to look for it.
    """

    laps: int | None
    pace: float = 1.0
    new_car: bool = False
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class _Scene:
    """A car, its name in the game, and its task; `check` as that of a WatchedSession."""

    car: Car
    track: Track
    config: TaskConfig
    model: str = ""
    check: Callable[[], None] = lambda: None


@contextmanager
def assembled_demonstration(
    pairing: Pairing,
    settings: Settings,
    shown: Shown,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None = None,
) -> Iterator[Drive]:
    """A demonstration that is ready to run; raises as `assembled_drive` does."""
    with ExitStack() as closing:
        try:
            scene = _scene(settings, shown, stop)
            closing.callback(scene.car.close)
            raced = environment.racing(scene.config)
            spool = closing.enter_context(Spool(settings.spool, settings.spool_limit_bytes))
            spool.bind_signature(raced.signature)
            if scene.model:
                _check_model(spool.car, scene.model, shown.new_car)
                spool.note_car(scene.model)
        except UNUSABLE as error:
            raise SettingsError(str(error), exit_code_of(error)) from error
        lookout = Lookout()
        link, recorder = connected(pairing, spool, raced, scene.track, 1, True, look_up, lookout)
        laps = CleanLaps(recorder, 1.0 / scene.config.control_hz, shown.laps)
        driver = _driver(scene, laps, shown.pace, lambda: not link.state.done, lookout)
        link.start()
        yield Drive(
            driver,
            scene.car.close,
            link,
            recorder,
            stop,
            real_time=isinstance(scene.car, WatchedCar),
            until_safe=isinstance(scene.car, PlayedCar),
            door=laps,
            demonstration=True,
        )


def _scene(settings: Settings, shown: Shown, stop: threading.Event) -> _Scene:
    """What is shown; raises SettingsError and UNUSABLE."""
    if settings.recording is not None and settings.recording.suffix == PAGES:
        return _recorded_pages(settings, settings.recording, shown.root)
    if settings.recording is not None:
        car, task = recorded_car_and_task(settings, settings.recording, parse_track(settings.track))
        return _Scene(car, task.track, task.config)
    config = task_config(settings.task, settings.rate)
    if settings.game is None:
        track = parse_track(settings.track)
        return _Scene(SimulatedCar(track, start="line"), track, config)
    session = watched_session(settings.game, stop)
    return _Scene(session.car, session.track, config, session.model, session.check)


def _recorded_pages(settings: Settings, recording: Path, root: Path | None) -> _Scene:
    config = task_config(settings.task, settings.rate)
    car, track, model = played_pages(recording, config.control_hz, settings.track, root)
    return _Scene(car, track, config, model)


def _driver(scene: _Scene, laps: CleanLaps, pace: float, collecting: Callable[[], bool], lookout: Lookout) -> Driver:
    # Nobody starts who shows something anew after some time, which would cost a lap each time.
    task = Task(scene.track, replace(scene.config, max_episode_seconds=_ENDLESS_SECONDS))
    if isinstance(scene.car, WatchedCar):
        clock = RealTimeClock(1.0 / scene.config.control_hz)
        return HumanDriver(scene.car, task, clock, laps, scene.check, collecting, lookout)
    driving = VectorDriving(scene.car, task, lookout=lookout)
    if isinstance(scene.car, PlayedCar):
        return RecordingDriver(driving, scene.car, laps)
    return ShownDriver(driving, reference_actions(ReferenceDriver(scene.track, pace=pace)), laps)


def _check_model(driven: str | None, model: str, new_car: bool) -> None:
    if driven not in (None, model) and not new_car:
        raise SettingsError(
            f"This is another car ({model}) than the one that was driven for this run from here ({driven}), and what "
            f"is learned of one is wrong for the other. Drive {driven}; with --new-car the run is about {model}."
        )

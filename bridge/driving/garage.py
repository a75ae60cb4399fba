"""Builds a drive from its settings: car, task, spool, recorder and link, put together in the right order.

Whatever the user chose wrongly is found here, before anything is dialled or driven, and told in a sentence; so is a
game that does not run or cannot be controlled.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bridge.assetto_corsa.controls.controls import NoBackend
from bridge.assetto_corsa.files.install import InstallError
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.recording.recording import RecordingDamaged
from bridge.assetto_corsa.session import GameSettings, opened_session
from bridge.driving.clean_laps import CleanLaps
from bridge.driving.drive import Drive, Driver, RecordingDriver
from bridge.driving.game_driver import GameDriver
from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.link.shown_car import ShownCar
from bridge.spool import Spool, SpoolError, SpoolFull
from experience import environment
from experience.environment import Environment
from experience.policy_driver import PolicyDriver
from experience.recorder import Recorder
from racing.car import Car
from racing.clock import Clock, RealTimeClock, SimulatedClock
from racing.delayed_car import DelayedCar
from racing.driving import Lookout, VectorDriving
from racing.exploration import Exploration
from racing.link_model import LinkError, read_link
from racing.recorded_car import PlayedCar, RecordedCar, RecordingError
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track, parse_track
from racing.track_file import TrackError
from racing.track_text import track_text
from runtime.exit_codes import ExitCode
from wire.pairing import Pairing

_LEAST_SHARE_ON_TRACK = 0.8
"""Of a recording's rows; one on its own track has all but its excursions, one on another track a few percent."""
UNUSABLE = (GameError, NoBackend, InstallError, TrackError, RecordingError, RecordingDamaged, LinkError, SpoolError)
"""What cannot be driven with, each told in a sentence: a game, its controls, folder and track, a recording, a spool."""


class SettingsError(ValueError):
    """The settings cannot be driven with; the text says why and what to do, `exit_code` of what kind it is."""

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose.

    Attributes:
        game: the game whose car is driven, in real time; None for another car.
        recording: telemetry to play instead of driving a simulated car; None to drive.
        track: as `racing.track.parse_track` reads it.
        cars: simulated cars at once.
        rate: control rate, Hz; None for the task's own, or the recording's.
        real_time: keep to the wall clock.
        task: further settings of the task, each NAME=VALUE.
        spool: its folder.
        spool_limit_bytes: what may wait there, bytes.
        steps: end after so many; None to go on.
        seed: of starts and exploration; None for another one each time.
        link: file of the link that simulated cars are driven over; None for none.
    """

    recording: Path | None
    track: str
    cars: int
    rate: float | None
    real_time: bool
    task: tuple[str, ...]
    spool: Path
    spool_limit_bytes: int
    steps: int | None
    seed: int | None
    game: GameSettings | None = None
    link: Path | None = None


@contextmanager
def assembled_drive(
    pairing: Pairing,
    settings: Settings,
    stop: threading.Event,
    look_up: Callable[[], Pairing] | None = None,
    real_clock: Callable[[float], Clock] = RealTimeClock,
) -> Iterator[Drive]:
    """A drive that is ready to run; its spool is closed at the end.

    `look_up` is the Link's; `real_clock` makes the clock of a drive in real time from its period in s. Raises
    SettingsError when something in the settings does not fit, or the game cannot be driven, and Stopped when `stop` was
    set while the game was waited for.
    """
    with ExitStack() as closing:
        try:
            session, late = None, None if settings.link is None else read_link(settings.link)
            if settings.game is None:
                car, task = _car_and_task(settings)
                car = car if late is None else DelayedCar(car, late, simulated_seed(settings))
                config = task.config
            else:
                config = task_config(settings.task, settings.rate)
            raced = environment.racing(config, late)
            spool = closing.enter_context(Spool(settings.spool, settings.spool_limit_bytes))
            spool.bind_signature(raced.signature)
            if settings.game is not None:
                # Whoever cannot collect must not take the car from the bridge that drives it: the game comes last.
                session = opened_session(settings.game, stop, settings.seed)
                closing.callback(session.car.close)
                car, task = session.car, Task(session.track, config)
                if session.model:
                    spool.note_car(session.model)
        except UNUSABLE as error:
            raise SettingsError(str(error), exit_code_of(error)) from error
        played, real_time = isinstance(car, RecordedCar), settings.real_time or session is not None
        # A recording does not wait for the trainer either: it is short, and needs no policy.
        lookout = Lookout()
        link, recorder = connected(pairing, spool, raced, task.track, car.count, real_time or played, look_up, lookout)
        clock = real_clock(1.0 / task.config.control_hz) if real_time else SimulatedClock()
        driver: Driver
        door = None
        if session is not None:
            door = CleanLaps(recorder, 1.0 / task.config.control_hz)
            driver = GameDriver(
                session,
                task,
                clock,
                policy=lambda: link.policy,
                record=recorder.record,
                collecting=lambda: not link.state.done,
                random=Exploration(settings.seed),
                laps=door,
                to_judge=lambda: link.to_judge,
                lookout=lookout,
            )
        elif isinstance(car, RecordedCar):
            driver = RecordingDriver(VectorDriving(car, task, clock, lookout=lookout), car, recorder)
        else:
            driving = VectorDriving(car, task, clock, lookout=lookout)
            driver = PolicyDriver(driving, link, recorder, real_time, settings.seed)
        link.start()
        yield Drive(
            driver,
            car.close,
            link,
            recorder,
            stop,
            settings.steps,
            real_time=real_time and not played,
            until_safe=played,
            door=door,
        )


def connected(
    pairing: Pairing,
    spool: Spool,
    raced: Environment,
    track: Track,
    cars: int,
    real_time: bool,
    look_up: Callable[[], Pairing] | None,
    lookout: Lookout,
) -> tuple[Link, Recorder]:
    """The link of a drive of `cars` cars, not dialling yet, and the recorder that fills its spool."""
    introduction = Introduction(raced, real_time, cars, software(), track_text(track))
    link = Link(pairing, spool, introduction, look_up, ShownCar(lookout, track.length))
    return link, Recorder(spool, raced.spaces.layout, cars, on_commit=link.notify)


def exit_code_of(error: Exception) -> ExitCode:
    """How a command ends whose drive one of UNUSABLE forbids."""
    if isinstance(error, SpoolFull):
        return ExitCode.DISK_FULL
    return ExitCode.FAILED if isinstance(error, (GameError, NoBackend)) else ExitCode.USAGE


def _car_and_task(settings: Settings) -> tuple[Car, Task]:
    """A car other than the game's, and its task; raises SettingsError, TrackError and RecordingError."""
    track = parse_track(settings.track)
    if settings.recording is not None:
        return recorded_car_and_task(settings, settings.recording, track)
    config = task_config(settings.task, settings.rate)
    return SimulatedCar(track, count=settings.cars, seed=simulated_seed(settings)), Task(track, config)


def simulated_seed(settings: Settings) -> int:
    """Of the starts of simulated cars: the one that was chosen, or another one each time."""
    return secrets.randbits(32) if settings.seed is None else settings.seed


def check_on_track(car: PlayedCar, track: Track, recording: Path, name: str) -> None:
    """Raise SettingsError for a recording of another track than this one, which the user knows as `name`."""
    if (share := car.share_on(track)) < _LEAST_SHARE_ON_TRACK:
        raise SettingsError(
            f"The recording {recording} lies off the track {name}: only {share:.0%} of it is on or near the road, so "
            "what would be learned from it makes no sense. Name with --track the one that it was recorded on."
        )


def recorded_car_and_task(settings: Settings, recording: Path, track: Track) -> tuple[RecordedCar, Task]:
    """The car of a CSV file and its task; raises SettingsError and RecordingError."""
    car = RecordedCar(recording)
    check_on_track(car, track, recording, settings.track)
    rate = float(round(car.rate)) if settings.rate is None else settings.rate
    config = task_config(settings.task, rate)
    if not _divides(rate, car.rate):
        fitting = ", ".join(str(hz) for hz in range(10, 61) if _divides(hz, car.rate)) or "none"
        raise SettingsError(
            f"The recording has {car.rate:.3g} rows a second, of which no {rate:g} steps a second can be made. For a "
            f"run that drives at {rate:g} Hz record at a multiple of that. The recording fits runs whose task has "
            f"another control_hz from their first start on ({fitting}), with --rate here the same, or left out for one "
            "step a row."
        )
    return car, Task(track, config)


def _divides(rate: float, rows_per_second: float) -> bool:
    return abs(rows_per_second / rate - round(rows_per_second / rate)) <= 0.02


def task_config(texts: Sequence[str], rate: float | None) -> TaskConfig:
    """The task at this control rate, Hz, or its own, with these settings, each NAME=VALUE; raises SettingsError."""
    known = {field.name for field in fields(TaskConfig)} - {"control_hz"}
    values = {} if rate is None else {"control_hz": rate}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            if name not in known:
                raise ValueError
            values[name] = float(number)
        except ValueError:
            raise SettingsError(
                f"--task {text} is not understood: write NAME=NUMBER, where NAME is one of {', '.join(sorted(known))}."
            ) from None
    try:
        return TaskConfig(**values)
    except ValueError as error:
        raise SettingsError(f"The task's settings do not fit: {error}.") from error


def software() -> str:
    """This program and its version, as the receiver and a bug report are told."""
    try:
        return f"ac-training {version('ac-training')}"
    except PackageNotFoundError:
        return "ac-training from source"

"""Whole laps of which files are made: of a recording of the game, of telemetry, of the reference driver.

Whatever makes a recording worthless is told in a sentence, as SettingsError and what UNUSABLE names. It reads no
controls and dials nobody.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import numpy as np

from bridge.assetto_corsa.files.install import find_install, installed_track
from bridge.assetto_corsa.reading.layout import text
from bridge.assetto_corsa.recording.recorded_pages import recorded_drive
from bridge.assetto_corsa.recording.recording import RecordingReader
from bridge.driving.garage import SettingsError, check_on_track
from racing.car import CarState
from racing.lap import About, Lap, cut_laps, played_states
from racing.recorded_car import STEERING_LOCK_DEGREES, PlayedCar, RecordedCar
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.track import Track, parse_track

PAGES = ".acpages"
"""How the name of a recording of the game's pages ends; other recordings are CSV files."""
_SLOWEST = 8.0
"""m/s of the mean speed below which the reference driver is given up."""


def played_pages(recording: Path, rate: float, track: str, root: Path | None) -> tuple[PlayedCar, Track, str]:
    """The car of a recording of pages at `rate` rows a second, its track, and its name in the game, "" if unknown.

    `track` is as parse_track reads it, "" for the game's own, whose folder is `root`, None to look for it.
    """
    car, static = recorded_drive(RecordingReader(recording), rate)
    name, layout = ("", "") if static is None else (text(static.track), text(static.trackConfiguration))
    if track:
        driven = parse_track(track)
    elif static is None:
        raise SettingsError(f"The recording {recording} does not name its track; name it with --track FILE.")
    else:
        driven = installed_track(find_install(root), name, layout, float(static.trackSPlineLength))
    check_on_track(car, driven, recording, track or f"{name} {layout}".strip())
    return car, driven, "" if static is None else text(static.carModel)


def recorded_laps(
    recording: Path, rate: float, track: str, root: Path | None, driver: str, steering_lock: float | None
) -> list[Lap]:
    """The whole laps of a recording; arguments as of `played_pages`, `steering_lock` as of a Lap.

    `rate` is for pages: telemetry has its own. The time of day is that of the file, since a recording holds none.
    """
    car: PlayedCar
    model = ""
    if recording.suffix == PAGES:
        car, driven, model = played_pages(recording, rate, track, root)
    else:
        driven = parse_track(track)
        lock = STEERING_LOCK_DEGREES if steering_lock is None else float(np.degrees(steering_lock))
        car = RecordedCar(recording, lock)
        steering_lock = float(np.radians(lock))
        check_on_track(car, driven, recording, track)
    begun = datetime.fromtimestamp(recording.stat().st_mtime).astimezone()
    return list(cut_laps(played_states(car), driven, About(driver, begun, model, steering_lock)))


def reference_laps(track: str, laps: int, pace: float, rate: float, driver: str) -> list[Lap]:
    """So many laps of the reference driver in the simulator, looked at and steered `rate` times a second.

    Raises SettingsError where he does not complete them.
    """
    driven = parse_track(track)
    about = About(driver, datetime.now().astimezone(), "simulated GT3")
    longest = (laps + 0.2) * driven.length / (_SLOWEST * pace)
    found = list(islice(cut_laps(reference_states(driven, pace, rate, longest), driven, about), laps))
    if len(found) < laps:
        raise SettingsError(
            f"The reference driver completed {len(found)} of {laps} laps of {track} in {longest:.0f} s and was given "
            "up. Take another track, or a lower --pace."
        )
    return found


def reference_states(track: Track, pace: float, rate: float, longest: float) -> Iterator[CarState]:
    """What the reference driver drives, from before the line on, for `longest` s at most."""
    car, driver = SimulatedCar(track, start="line"), ReferenceDriver(track, pace=pace)
    for _ in range(round(longest * rate)):
        state = car.read()
        yield state
        car.apply(driver.controls(state))
        car.advance(1.0 / rate)

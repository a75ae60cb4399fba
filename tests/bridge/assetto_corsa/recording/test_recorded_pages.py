"""A drive in a recording of the fake game's pages: the states that a bridge would have read, lap times included."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.reading.layout import text
from bridge.assetto_corsa.reading.pages import CAR_BYTES
from bridge.assetto_corsa.recording.recorded_pages import recorded_drive
from bridge.assetto_corsa.recording.recording import PageKind, Record, RecordingReader
from racing.driving import Lap, VectorDriving
from racing.recorded_car import PlayedCar, RecordingError
from racing.task import Task, TaskConfig
from tests.fake_ac.game import Mode
from tests.fake_ac.pages import CAR_MODEL
from tests.support.filmed_game import TRACK, Filmed


def played(filmed: Filmed, control_hz: float = 20.0) -> PlayedCar:
    """The drive, through a file."""
    car, static = recorded_drive(RecordingReader(filmed.file()), control_hz)
    assert static is not None
    assert text(static.carModel) == CAR_MODEL
    return car


@pytest.fixture
def filmed(tmp_path: Path) -> Iterator[Filmed]:
    made = Filmed(tmp_path)
    yield made
    made.game.close()


def laps_of(car: PlayedCar, control_hz: float) -> list[Lap]:
    driving = VectorDriving(car, Task(TRACK, TaskConfig(control_hz=control_hz)))
    driving.reset()
    found: list[Lap] = []
    while not car.exhausted:
        step = driving.step(car.upcoming_action())
        found += step.laps
        if car.at_gap:
            driving.reset()
    return found


@pytest.mark.slow
def test_a_recorded_lap_takes_as_long_as_the_game_says(filmed: Filmed) -> None:
    filmed.drive_laps()
    for control_hz in (20.0, 50.0):
        car = played(filmed, control_hz)
        assert car.rate == control_hz
        assert car.rows == pytest.approx(filmed.time * control_hz, abs=3)
        assert car.share_on(TRACK) == 1.0
        laps = laps_of(car, control_hz)
        assert [1000.0 * lap.time for lap in laps] == [pytest.approx(filmed.game.laps.best_ms, abs=10.0)]
        assert laps[0].clean


@pytest.mark.slow
@pytest.mark.parametrize("what", ["pause", "moved", "missed"])
def test_what_does_not_join_is_no_step(filmed: Filmed, what: str) -> None:
    filmed.drive(1.5)
    if what == "pause":
        filmed.game.mode = Mode.PAUSE
        filmed.drive(1.0)
        filmed.game.mode = Mode.LIVE
    elif what == "moved":
        filmed.game.put(500.0, speed=20.0)
    else:
        filmed.drive(0.2, film=False)
    filmed.drive(1.5)
    car = played(filmed)
    gaps, rows = [], 0
    while not car.exhausted:
        if car.at_gap:
            gaps.append(rows)
            car.reset(np.ones(1, bool))
        else:
            car.advance(0.05)
        rows += 1
    assert len(gaps) == 1
    assert gaps[0] == pytest.approx(30, abs=2)


def test_a_recording_in_which_nobody_drives_is_a_sentence(filmed: Filmed) -> None:
    filmed.game.mode = Mode.MENU
    filmed.drive(1.0)
    with pytest.raises(RecordingError, match="Nobody drives in this recording"):
        played(filmed)


def test_what_a_bridge_drove_through_csp_is_no_humans(filmed: Filmed) -> None:
    filmed.drive(1.5)
    filmed.records += [Record(PageKind.CAR, record.time, bytes(CAR_BYTES)) for record in filmed.records]
    filmed.records.sort(key=lambda record: record.time)
    with pytest.raises(RecordingError, match="Nobody drives in this recording"):
        played(filmed)
    by_bridge = len(filmed.records)
    filmed.drive(1.5)
    assert played(filmed).rows == pytest.approx(30, abs=3), "the human's part counts"
    assert len(filmed.records) > by_bridge

"""The reference driver laps what there is to lap: it is the yardstick, so it must never be the problem."""

import numpy as np
import pytest

from racing import racing_line
from racing.evaluation import Evaluation, drive_laps, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import TaskConfig
from racing.track import Track
from tests.support.real_data import real_data


def driven(track: Track, driver: ReferenceDriver, laps: int = 2, control_hz: float = 20.0) -> Evaluation:
    """Laps from a rolling start, by the same judge as a learned policy's."""
    return drive_laps(reference_actions(driver), track, laps, TaskConfig(control_hz=control_hz))


def laps_cleanly(track: Track, control_hz: float = 20.0) -> None:
    driver = ReferenceDriver(track)
    result = driven(track, driver, control_hz=control_hz)
    assert result.end == ""
    assert [lap.clean for lap in result.laps] == [True, True]
    assert result.laps[-1].time == pytest.approx(driver.lap_time_estimate, rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 7, 11])
def test_it_laps_generated_tracks_cleanly(seed: int) -> None:
    laps_cleanly(Track.generate(seed))


@pytest.mark.slow
def test_a_long_track_is_planned_piece_by_piece_as_it_is_planned_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    track = Track.generate(3, 5000.0)
    pieces = racing_line.racing_line(track)
    monkeypatch.setattr(racing_line, "_TOGETHER", 10_000)
    whole = racing_line.racing_line(track)
    assert pieces.shape == whole.shape
    assert np.abs(pieces - whole).max() < 0.001


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_it_laps_every_generated_track_cleanly(seed: int) -> None:
    laps_cleanly(Track.generate(seed))


@pytest.mark.slow
@pytest.mark.parametrize("control_hz", [10.0, 60.0])
def test_it_laps_at_other_control_rates(control_hz: float) -> None:
    laps_cleanly(Track.generate(19), control_hz)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fastest", "slowest"),
    [("monza", 105, 120), ("ks_red_bull_ring-layout_gp", 86, 100), ("ks_laguna_seca", 80, 96)],
)
def test_its_laps_of_real_circuits_are_those_of_a_gt3_car(name: str, fastest: float, slowest: float) -> None:
    track = Track.from_csv(real_data(f"tracks/{name}.csv"))
    result = driven(track, ReferenceDriver(track))
    assert result.end == ""
    assert all(lap.clean for lap in result.laps)
    assert fastest < result.laps[-1].time < slowest


@pytest.mark.slow
def test_it_drives_many_cars_from_anywhere_on_the_track() -> None:
    track = Track.generate(2)
    driver = ReferenceDriver(track)
    car = SimulatedCar(track, count=16, seed=4)
    for _ in range(400):
        car.apply(driver.controls(car.read()))
        car.advance(0.05)
    state = car.read()
    assert not state.collided.any()
    assert state.velocity[:, 0].min() > 8.0


def test_the_line_stays_on_the_road_and_bends_less_than_the_centre() -> None:
    track = Track.generate(7)
    line = ReferenceDriver(track).line
    at = track.project(line.centre)
    assert (at.width_left - at.gap).min() > 0.85
    assert (at.width_right + at.gap).min() > 0.85
    assert (line.curvature**2).sum() < 0.7 * (track.curvature**2).sum()
    assert line.length < track.length


@pytest.mark.slow
def test_a_given_line_is_followed() -> None:
    track = Track.generate(19)
    driver = ReferenceDriver(track, line=track.centre)
    assert driver.lap_time_estimate > ReferenceDriver(track).lap_time_estimate
    assert [lap.clean for lap in driven(track, driver, laps=1).laps] == [True]


@pytest.mark.slow
def test_a_lazy_one_takes_as_much_longer_as_he_is_slower() -> None:
    track = Track.generate(7, 1000.0)
    full = ReferenceDriver(track)
    lazy = ReferenceDriver(track, line=full.line.centre, pace=0.7)
    assert lazy.lap_time_estimate == pytest.approx(full.lap_time_estimate / 0.7)

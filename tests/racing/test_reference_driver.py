"""The reference driver laps what there is to lap: it is the yardstick, so it must never be the problem."""

from dataclasses import dataclass

import pytest

from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.track import Track
from tests.support.real_data import real_data


@dataclass(frozen=True)
class Drive:
    laps: list[float]
    most_wheels_out: int
    collided: bool


def drive_laps(track: Track, driver: ReferenceDriver, laps: int = 2, control_hz: float = 20.0) -> Drive:
    """Two flying laps from the line; times in s to the control period."""
    car = SimulatedCar(track, start="line")
    times: list[float] = []
    most_out, started, previous, index = 0, None, None, None
    while len(times) < laps:
        state = car.read()
        at = track.project(state.position, index)
        s, now, index = float(at.s[0]), float(state.time[0]), at.index
        most_out = max(most_out, int(state.wheels_out[0]))
        if previous is not None and s < previous - track.length / 2:
            if started is not None:
                times.append(now - started)
            started = now
        previous = s
        if state.collided[0] or now > 3 * driver.lap_time_estimate * laps:
            return Drive(times, most_out, bool(state.collided[0]))
        car.apply(driver.controls(state))
        car.advance(1 / control_hz)
    return Drive(times, most_out, False)


def laps_cleanly(track: Track, control_hz: float = 20.0) -> None:
    driver = ReferenceDriver(track)
    result = drive_laps(track, driver, control_hz=control_hz)
    assert not result.collided
    assert len(result.laps) == 2
    assert result.most_wheels_out <= 2
    assert result.laps[-1] == pytest.approx(driver.lap_time_estimate, rel=0.08)


@pytest.mark.parametrize("seed", [2, 7, 11])
def test_it_laps_generated_tracks_cleanly(seed: int) -> None:
    laps_cleanly(Track.generate(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_it_laps_every_generated_track_cleanly(seed: int) -> None:
    laps_cleanly(Track.generate(seed))


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
    result = drive_laps(track, ReferenceDriver(track))
    assert not result.collided
    assert result.most_wheels_out <= 2
    assert fastest < result.laps[-1] < slowest


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


def test_a_given_line_is_followed() -> None:
    track = Track.generate(19)
    driver = ReferenceDriver(track, line=track.centre)
    assert driver.lap_time_estimate > ReferenceDriver(track).lap_time_estimate
    assert drive_laps(track, driver, laps=1).most_wheels_out <= 2

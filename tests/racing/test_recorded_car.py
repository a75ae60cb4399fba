"""A recording plays as a car: right units, right signs, one row a period, and an end."""

from pathlib import Path

import numpy as np
import pytest

from racing.recorded_car import REQUIRED_COLUMNS, RecordedCar, RecordingError
from racing.track import Track
from tests.support.real_data import real_data
from tests.support.recordings import along, straight, write


@pytest.fixture(scope="module")
def laps() -> Path:
    return real_data("telemetry/monza_25hz_two_laps.csv")


def play(car: RecordedCar) -> list[tuple[np.ndarray, float]]:
    states = []
    while True:
        state = car.read()
        states.append((state.position[0], float(state.heading[0])))
        if car.at_gap:
            return states
        car.advance(0.04)


def test_the_recorded_velocity_is_the_derivative_of_the_position(laps: Path) -> None:
    car = RecordedCar(laps)
    positions, velocities = [], []
    while not car.exhausted:
        state = car.read()
        heading = state.heading[0]
        ahead = np.array([np.cos(heading), np.sin(heading)])
        left = np.array([-ahead[1], ahead[0]])
        positions.append(state.position[0])
        velocities.append(ahead * state.velocity[0, 0] + left * state.velocity[0, 1])
        car.advance(0.04)
    measured = np.gradient(np.array(positions), 1.0 / car.rate, axis=0)
    assert np.median(np.abs(measured - velocities)) < 0.05


def test_the_recorded_car_goes_where_it_looks_and_turns_where_it_steers(laps: Path) -> None:
    car = RecordedCar(laps)
    forward, sideways, yaw_rates, headings, steers = [], [], [], [], []
    while not car.exhausted:
        state = car.read()
        if state.velocity[0, 0] > 10.0:
            forward.append(state.velocity[0, 0])
            sideways.append(state.velocity[0, 1])
        yaw_rates.append(state.yaw_rate[0])
        headings.append(state.heading[0])
        steers.append(state.steer[0])
        car.advance(0.04)
    assert np.median(np.abs(sideways)) < 0.02 * np.median(forward)
    assert np.median(np.abs(np.gradient(headings, 1.0 / car.rate) - yaw_rates)) < 0.01
    assert np.corrcoef(steers, yaw_rates)[0, 1] > 0.5


def test_two_recorded_laps_are_one_drive_at_25_hz(laps: Path) -> None:
    car = RecordedCar(laps)
    assert car.rate == pytest.approx(25.0, abs=0.1)
    assert len(play(car)) == car.rows == 5988
    assert car.exhausted


def test_what_was_not_recorded_is_absent(laps: Path) -> None:
    state = RecordedCar(laps).read()
    assert state.acceleration is None
    assert state.wheel_slip is None
    assert state.wheel_load is None
    assert state.wheel_angular_speed is None


def test_the_drivers_pedals_and_wheel_become_an_action_on_the_grid(tmp_path: Path) -> None:
    rows = straight(3)
    rows[1] |= {"steerAngle": 160.0, "accStatus": 0.25, "brakeStatus": 0.75}
    car = RecordedCar(write(tmp_path / "drive.csv", rows))
    assert car.upcoming_action().tolist() == [[-0.5, -0.5]]
    car.advance(0.04)
    assert car.read().steer[0] == -0.5
    assert car.read().gear[0] == 2


def test_a_jump_ends_the_drive_and_reset_goes_on_behind_it(tmp_path: Path) -> None:
    car = RecordedCar(write(tmp_path / "drive.csv", straight(4) + straight(3, start=500.0)))
    assert [position[0] for position, _ in play(car)] == pytest.approx([0.0, 0.4, 0.8, 1.2])
    assert not car.exhausted
    car.advance(0.04)
    assert car.read().position[0, 0] == pytest.approx(1.2)
    car.reset(np.array([True]))
    assert [position[0] for position, _ in play(car)] == pytest.approx([500.0, 500.4, 500.8])
    assert car.exhausted


def test_a_recorded_end_ends_the_drive(tmp_path: Path) -> None:
    rows = [row | {"done": float(k == 1)} for k, row in enumerate(straight(5))]
    car = RecordedCar(write(tmp_path / "drive.csv", rows))
    assert len(play(car)) == 2
    car.reset(np.array([True]))
    assert len(play(car)) == 3


def test_the_lap_clock_falling_back_is_no_gap(tmp_path: Path) -> None:
    rows = straight(6)
    for row in rows[3:]:
        row["currentTime"] -= 0.12
    assert len(play(RecordedCar(write(tmp_path / "drive.csv", rows)))) == 6


def test_time_never_goes_back(laps: Path) -> None:
    car = RecordedCar(laps)
    times = []
    while not car.exhausted:
        times.append(car.read().time[0])
        car.advance(0.04)
    assert (np.diff(times) > 0.0).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no rows"),
        ("yaw,RPM\n1,2\n", "lacks the columns currentTime"),
        (",".join(REQUIRED_COLUMNS) + "\n" + ",".join(["nan"] * 12) + "\n", "not finite"),
        (",".join(REQUIRED_COLUMNS) + "\n" + ",".join(["1"] * 12) + "\n", "no drive"),
        (",".join(REQUIRED_COLUMNS) + "\n1,2\n", "2 values"),
    ],
    ids=["empty", "columns", "nan", "one row", "cut row"],
)
def test_a_file_that_is_no_recording_gets_a_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "drive.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=complaint) as told:
        RecordedCar(path)
    assert "track" not in str(told.value)


def test_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"The recording .* cannot be read.*Give the CSV file of a drive"):
        RecordedCar(tmp_path / "nowhere.csv")


def test_only_a_recording_of_this_track_lies_on_it(tmp_path: Path) -> None:
    track = Track.generate(7, 1200.0)
    car = RecordedCar(write(tmp_path / "drive.csv", along(track, 500)))
    assert car.share_on(track) == 1.0
    assert car.share_on(Track.generate(8, 1200.0)) < 0.5

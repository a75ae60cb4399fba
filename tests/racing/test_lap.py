"""Laps cut out of what a car did: exact at the line, whole or not at all, and nothing invented."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racing.car import CarState
from racing.driving import Lap as CountedLap
from racing.driving import VectorDriving
from racing.evaluation import reference_actions
from racing.lap import LONGEST_LAP_SECONDS, About, Lap, best_lap, cut_laps, played_states
from racing.recorded_car import RecordedCar
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track
from tests.support.laps import made_lap
from tests.support.real_data import real_data

TRACK = Track.generate(7, 1000.0)
BEGUN = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
ABOUT = About("human", BEGUN, "a car", 5.0)


def at(metres: float, time: float, **changes: Any) -> CarState:
    """A car on the centreline."""
    s = np.array([metres])
    state = CarState(
        time=np.array([time]),
        position=TRACK.position_at(s),
        heading=TRACK.heading_at(s),
        velocity=np.array([[20.0, 0.0]]),
        acceleration=None,
        yaw_rate=np.zeros(1),
        steer=np.zeros(1),
        throttle=np.full(1, 0.5),
        brake=np.zeros(1),
        engine_rpm=np.full(1, 6000.0),
        gear=np.full(1, 3),
        wheel_slip=None,
        wheel_load=None,
        wheel_angular_speed=None,
        wheels_out=np.zeros(1, np.int64),
        collided=np.zeros(1, np.bool_),
    )
    return replace(state, **changes)


def along(start: float, end: float, speed: float = 20.0, rate: float = 25.0, time: float = 0.0) -> list[CarState]:
    """A car that follows the centreline at one speed."""
    steps = np.arange(int(abs(end - start) / speed * rate) + 1) / rate
    return [at(start + np.sign(end - start) * speed * step, time + step) for step in steps.tolist()]


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.floats(15.0, 80.0), st.floats(10.0, 60.0), st.floats(1.0, 30.0))
def test_a_lap_takes_what_its_length_and_speed_say_whenever_the_car_was_read(
    speed: float, rate: float, before: float
) -> None:
    laps = list(cut_laps(along(-before, 2.1 * TRACK.length, speed, rate), TRACK, ABOUT))
    assert [lap.name for lap in laps] == ["lap 1", "lap 2"]
    for number, lap in enumerate(laps):
        assert lap.time == pytest.approx(TRACK.length / speed, abs=1e-4)
        assert lap.rate == pytest.approx(rate, rel=0.01)
        # The projection is exact on the points of the centreline, and near enough between them.
        np.testing.assert_allclose(lap.metres, speed * lap.seconds, atol=0.02)
        assert (lap.metres[0], lap.metres[-1]) == (0.0, TRACK.length)
        begun = lap.begun - BEGUN - timedelta(seconds=(before + number * TRACK.length) / speed)
        assert abs(begun.total_seconds()) < 1e-3


def test_a_lap_says_what_the_car_said_in_si_units_and_what_it_did_not_is_absent() -> None:
    (lap,) = cut_laps(along(-10.0, TRACK.length + 10.0), TRACK, ABOUT)
    assert (lap.driver, lap.car, lap.track, lap.steering_lock) == ("human", "a car", TRACK.name, 5.0)
    assert lap.engine_speed == pytest.approx(6000.0 * 2.0 * np.pi / 60.0)
    assert lap.speed == pytest.approx(20.0)
    assert lap.gear.tolist() == [3] * len(lap.seconds)
    assert lap.x is not None
    assert lap.y is not None
    assert np.hypot(lap.x[-1] - lap.x[0], lap.y[-1] - lap.y[0]) < 0.1
    assert lap.acceleration_forward is lap.acceleration_left is None
    assert "acceleration_left" not in lap.columns()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "clean"),
    [
        ({"wheels_out": np.full(1, 2)}, True),
        ({"wheels_out": np.full(1, 3)}, False),
        ({"collided": np.ones(1, np.bool_)}, False),
    ],
)
def test_a_lap_with_more_than_two_wheels_out_or_a_hit_is_not_clean(changes: dict[str, Any], clean: bool) -> None:
    states = along(-10.0, 2.05 * TRACK.length)
    states[700] = replace(states[700], **changes)
    first, second = cut_laps(states, TRACK, ABOUT)
    assert (first.clean, second.clean) == (clean, True)
    assert best_lap([first, second]) is (first if clean and first.time <= second.time else second)


def test_what_does_not_join_or_turns_back_is_no_lap() -> None:
    length = TRACK.length
    whole = along(-10.0, length + 10.0)
    half = len(whole) // 2
    assert not list(cut_laps([*whole[:half], None, *whole[half:]], TRACK, ABOUT))
    there = along(-10.0, 50.0)
    back = along(50.0, -10.0, time=10.0)
    again = along(-10.0, 50.0, time=20.0)
    assert not list(cut_laps([*there, *back, *again], TRACK, ABOUT))
    # Whoever turns back over the line drives the rest of the lap all the same, and its clock went on.
    rest = along(50.0, length + 10.0, time=30.0)
    (lap,) = cut_laps([*there, *back, *again, *rest], TRACK, ABOUT)
    assert lap.time == pytest.approx(30.0 + (length - 50.0) / 20.0 - 0.5, abs=0.05)


def test_a_lap_without_an_end_is_given_up() -> None:
    standing = [at(5.0, 1.0 + 10.0 * step) for step in range(int(LONGEST_LAP_SECONDS / 10.0) + 1)]
    later = along(5.0, TRACK.length + 5.0, time=5000.0)
    assert not list(cut_laps([at(-5.0, 0.0), *standing, *later], TRACK, ABOUT))


@pytest.mark.slow
def test_time_that_does_not_go_on_and_several_cars_are_refused() -> None:
    with pytest.raises(ValueError, match="must go on"):
        list(cut_laps([at(0.0, 1.0), at(1.0, 1.0)], TRACK, ABOUT))
    with pytest.raises(ValueError, match="one car, not of 3"):
        list(cut_laps([SimulatedCar(TRACK, 3).read()], TRACK, ABOUT))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"speed": np.zeros(5)}, "speed of a lap"),
        ({"speed": np.full(101, np.nan)}, "not finite"),
        ({"seconds": np.linspace(0.0, 4.0, 101) ** 2}, "evenly spaced"),
        ({"seconds": np.linspace(1.0, 4.0, 101)}, "evenly spaced"),
        ({"seconds": np.zeros(101)}, "evenly spaced"),
        ({"begun": datetime(2026, 1, 1)}, "time zone"),
    ],
)
def test_arrays_that_are_no_lap_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made_lap(**changes)


@pytest.mark.slow
def test_laps_of_the_simulator_are_those_that_the_task_counts() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), Task(TRACK, TaskConfig()))
    actor, observation = reference_actions(ReferenceDriver(TRACK)), driving.reset()
    counted: list[CountedLap] = []

    def states() -> Iterator[CarState]:
        nonlocal observation
        yield driving.state
        while len(counted) < 2:
            step = driving.step(actor(observation, driving.state))
            observation = step.observation
            counted.extend(step.laps)
            yield driving.state

    laps: list[Lap] = list(cut_laps(states(), TRACK, ABOUT))
    assert [lap.time for lap in laps] == pytest.approx([lap.time for lap in counted], abs=1e-6)
    assert [lap.clean for lap in laps] == [lap.clean for lap in counted] == [True, True]
    assert all(lap.acceleration_left is not None for lap in laps)
    # One lap's end is the next one's begin.
    assert laps[0].speed[-1] == pytest.approx(laps[1].speed[0])


@pytest.mark.slow
def test_the_recorded_lap_of_the_real_game_takes_what_the_game_says() -> None:
    file = real_data("telemetry/monza_25hz_two_laps.csv")
    track = Track.from_csv(real_data("tracks/monza.csv"))
    (lap,) = cut_laps(played_states(RecordedCar(file)), track, ABOUT)
    with file.open() as rows:
        clock = np.array([float(row["currentTime"]) for row in csv.DictReader(rows)])
    # The game's clock falls to 0 at its own line: a lap is what it read before, and what a period had left.
    fell = np.flatnonzero(np.diff(clock) < 0.0)
    game = clock[fell[1]] + 0.04 - clock[fell[1] + 1]
    assert lap.time == pytest.approx(game, abs=0.02)
    assert lap.clean
    assert lap.rate == pytest.approx(25.0, rel=0.001)
    assert lap.metres[-1] == track.length
    # What the car drove is the length of the lap, but for its line through the bends.
    assert np.trapezoid(lap.speed, lap.seconds) == pytest.approx(track.length, rel=0.01)
    assert 3.6 * lap.speed.max() > 250.0
    assert set(lap.gear.tolist()) <= set(range(8)), "neutral while it shifts"

"""A driver is judged from several starts at once, each as it would be judged alone."""

import numpy as np
import pytest

from racing.car import CarState
from racing.evaluation import drive_laps, judge, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array
from racing.track import Track

TRACK = Track.generate(7, 1200.0)


def test_cars_start_where_they_are_told_to_and_start_there_again() -> None:
    places = np.array([0.0, 300.0, -10.0])
    car = SimulatedCar(TRACK, 3, start=places)
    begun = car.read()
    assert TRACK.project(begun.position).s == pytest.approx([0.0, 300.0, TRACK.length - 10.0], abs=0.5)
    car.advance(1.0)
    car.reset(np.array([False, True, False]))
    assert car.read().position[1] == pytest.approx(begun.position[1])
    assert np.hypot(*(car.read().position[0] - begun.position[0])) > 5.0


@pytest.mark.slow
def test_the_reference_driver_laps_from_every_start() -> None:
    found = judge(reference_actions(ReferenceDriver(TRACK)), TRACK, starts=3, laps=2)
    assert (found.clean, found.ends) == ((2, 2, 2), ("", "", ""))
    alone = drive_laps(reference_actions(ReferenceDriver(TRACK)), TRACK, 2)
    assert found.best is not None
    assert found.best == pytest.approx(min(lap.time for lap in alone.laps), rel=0.02)


@pytest.mark.slow
def test_each_start_is_judged_by_its_own_drive() -> None:
    driver = reference_actions(ReferenceDriver(TRACK))
    calls = 0

    def second_crashes(observation: Float32Array, state: CarState) -> Float32Array:
        nonlocal calls
        calls += 1
        action = driver(observation, state)
        action[1] = (1.0, 1.0) if calls > 60 else action[1]
        return action

    found = judge(second_crashes, TRACK, starts=2, laps=1)
    assert found.clean == (1, 0)
    assert found.ends[0] == ""
    assert found.ends[1] in ("off_track", "crash", "reversed")


@pytest.mark.slow
def test_who_stands_is_given_up() -> None:
    found = judge(lambda observation, _: np.zeros((len(observation), 2), np.float32), TRACK, starts=2, laps=1)
    assert found.clean == (0, 0)
    assert "" not in found.ends
    assert found.best is None

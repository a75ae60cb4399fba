"""Rolling starts: the first steps of an episode bring the car up to speed, on the road, and are recorded as such."""

import math
from functools import partial

import numpy as np
import pytest

from bridge.assetto_corsa.starts.rolling import ROLL_SECONDS, RollingStart
from bridge.assetto_corsa.starts.starts import FASTEST_ROLL, Start, Starts
from racing.task import controls_of, on_action_grid
from racing.track import Track
from tests.fake_ac.car import GameCar

TRACK = Track.generate(7, 1200.0)
PERIOD = 1.0 / 20.0


def flat(_position: object, _heading: float) -> float:
    return 0.0


def _given(start: Start) -> Start | None:
    return start


def circle(radius: float) -> Track:
    angle = np.linspace(0.0, 2.0 * math.pi, 200, endpoint=False)
    middle = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Track.from_borders(middle * (1.0 - 5.0 / radius), middle * (1.0 + 5.0 / radius), "a circle", "a test")


@pytest.mark.slow
def test_a_standing_car_is_brought_up_to_speed_on_the_road() -> None:
    car, starts = GameCar(TRACK), Starts(TRACK, flat, seed=2, rolling=1.0)
    speeds = []
    for start in [starts.draw() for _ in range(20)]:
        car.place(np.array(start.position), start.heading)
        began = car.read()
        rolling = RollingStart(starts, partial(_given, start))
        rolling.begin(began)
        while (action := rolling.action(car.read())) is not None:
            assert np.array_equal(on_action_grid(action), np.clip(on_action_grid(action), -1.0, 1.0))
            car.apply(controls_of(action))
            car.advance(PERIOD)
            state = car.read()
            assert not state.wheels_out.any()
            assert not state.collided.any()
        speeds.append(float(np.hypot(*state.velocity[0])))
        assert state.time[0] - began.time[0] <= ROLL_SECONDS + PERIOD
        assert rolling.action(state) is None, "the policy keeps the car until the next start"
    assert max(speeds) > 12.0
    assert max(speeds) - min(speeds) > 5.0, "speeds are random, too"


def test_a_car_that_was_not_teleported_begins_standing() -> None:
    car = GameCar(TRACK)
    rolling = RollingStart(Starts(TRACK, flat), lambda: None)
    rolling.begin(car.read())
    assert rolling.action(car.read()) is None


@pytest.mark.parametrize(("radius", "speed"), [(30.0, math.sqrt(6.0 * 30.0)), (1000.0, FASTEST_ROLL)])
def test_the_road_ahead_limits_the_speed(radius: float, speed: float) -> None:
    assert Starts(circle(radius), flat).allowed((radius, 0.0)) == pytest.approx(speed, rel=0.03)

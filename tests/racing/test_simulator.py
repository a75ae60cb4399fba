"""The simulated car behaves as a GT3 car does, on the road and off it, and never breaks down numerically."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racing.car import CarState, Controls, FloatArray
from racing.dynamics import Dynamics
from racing.simulator import SimulatedCar
from racing.track import Track
from racing.vehicle import GRAVITY, GT3

TRACK = Track.generate(7)
STEP = 0.004


def on_a_plane(speed: float) -> Dynamics:
    """One car rolling straight on endless dry asphalt."""
    dynamics = Dynamics(GT3, 1)
    dynamics.grip[2:] = GT3.rear_grip
    dynamics.restart(np.array([0]), np.zeros(1, complex), np.zeros(1), np.array([speed]))
    return dynamics


def drive(dynamics: Dynamics, seconds: float, steer: float = 0.0, throttle: float = 0.0, brake: float = 0.0) -> None:
    for _ in range(round(seconds / (3 * STEP))):
        dynamics.prepare(3 * STEP, np.array([steer]), np.array([throttle]), np.array([brake]))
        for _ in range(3):
            dynamics.step(STEP)


def controls(count: int, steer: float = 0.0, throttle: float = 0.0, brake: float = 0.0) -> Controls:
    return Controls(np.full(count, steer), np.full(count, throttle), np.full(count, brake))


def speed_of(state: CarState) -> FloatArray:
    return np.asarray(np.hypot(state.velocity[:, 0], state.velocity[:, 1]))


def test_it_reaches_100_kmh_as_a_gt3_car_does() -> None:
    dynamics = on_a_plane(0.0)
    seconds = 0.0
    while abs(dynamics.velocity[0]) < 100 / 3.6:
        drive(dynamics, 0.012, throttle=1.0)
        seconds += 0.012
        assert seconds < 10.0
    assert 3.0 < seconds < 4.0


@pytest.mark.slow
def test_its_top_speed_is_that_of_a_gt3_car() -> None:
    dynamics = on_a_plane(70.0)
    drive(dynamics, 60.0, throttle=1.0)
    assert 260 < abs(dynamics.velocity[0]) * 3.6 < 285
    assert dynamics.gear[0] == len(GT3.gear_ratios)
    assert dynamics.rpm[0] < GT3.limit_rpm


@pytest.mark.parametrize(("speed", "least", "most"), [(70.0, 2.1, 2.7), (20.0, 1.5, 1.95)])
def test_it_brakes_harder_the_more_air_presses_on_it(speed: float, least: float, most: float) -> None:
    dynamics = on_a_plane(speed)
    drive(dynamics, 0.3, brake=1.0)
    assert least < -dynamics.acceleration[0].real / GRAVITY < most
    assert (dynamics.wheel_speed > 0).all()


@pytest.mark.parametrize(("speed", "least", "most"), [(15.0, 1.35, 1.6), (50.0, 1.75, 2.2)])
def test_it_corners_at_one_and_a_half_g_and_more_with_downforce(speed: float, least: float, most: float) -> None:
    dynamics = on_a_plane(speed)
    highest = 0.0
    for steer in np.linspace(0.0, 20.0 / speed * 0.5, 250):
        drive(dynamics, 0.012, steer=float(steer), throttle=0.4)
        highest = max(highest, dynamics.acceleration[0].imag / GRAVITY)
    assert least < highest < most


def test_at_low_speed_it_turns_on_the_circle_that_the_steering_geometry_gives() -> None:
    dynamics = on_a_plane(6.0)
    drive(dynamics, 1.5, steer=0.5)
    radius = abs(dynamics.velocity[0]) / dynamics.yaw_rate[0]
    assert radius == pytest.approx(GT3.wheelbase / (0.5 * GT3.full_lock), rel=0.1)


def test_left_is_positive_everywhere() -> None:
    dynamics = on_a_plane(20.0)
    drive(dynamics, 0.5, steer=0.2)
    assert dynamics.yaw_rate[0] > 0
    assert dynamics.acceleration[0].imag > 0
    assert dynamics.heading[0] > 0
    assert dynamics.position[0].imag > 0
    assert dynamics.load[1, 0] > dynamics.load[0, 0]  # The right tyres carry a car that turns left.


def test_tyres_carry_the_car_and_its_downforce() -> None:
    dynamics = on_a_plane(60.0)
    drive(dynamics, 0.2, throttle=0.5)
    expected = GT3.mass * GRAVITY + GT3.downforce * abs(dynamics.velocity[0]) ** 2
    assert dynamics.load.sum() == pytest.approx(expected, rel=0.01)


def test_it_brakes_to_a_standstill_and_stays_there() -> None:
    dynamics = on_a_plane(20.0)
    drive(dynamics, 5.0, steer=0.3, brake=1.0)
    resting = dynamics.position[0]
    drive(dynamics, 2.0, brake=1.0)
    assert abs(dynamics.velocity[0]) < 1e-3
    assert abs(dynamics.position[0] - resting) < 1e-3
    assert np.abs(dynamics.wheel_speed).max() < 1e-3


@pytest.mark.slow
def test_coasting_slows_it_but_never_pushes_it_backward() -> None:
    dynamics = on_a_plane(5.0)
    drive(dynamics, 60.0)
    assert -1e-3 < (dynamics.velocity * np.exp(-1j * dynamics.heading)).real[0] < 5.0


def test_too_much_throttle_and_lock_with_the_tail_out_spins_it_and_it_comes_to_rest() -> None:
    dynamics = on_a_plane(30.0)
    dynamics.yaw_rate[0] = 3.0
    drive(dynamics, 1.0)
    assert abs(dynamics.heading[0]) > 1.0
    drive(dynamics, 8.0, brake=1.0)
    assert abs(dynamics.velocity[0]) < 0.01
    assert abs(dynamics.yaw_rate[0]) < 0.01


def test_gears_shift_up_and_down_by_themselves() -> None:
    dynamics = on_a_plane(0.0)
    drive(dynamics, 12.0, throttle=1.0)
    assert dynamics.gear[0] >= 4
    drive(dynamics, 6.0, brake=0.7)
    assert dynamics.gear[0] == 1


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_no_treatment_breaks_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    car = SimulatedCar(TRACK, count=8, seed=seed)
    for _ in range(60):
        car.apply(Controls(rng.uniform(-1.5, 1.5, 8), rng.uniform(-0.5, 1.5, 8), rng.uniform(-0.5, 1.5, 8)))
        car.advance(float(rng.choice([1 / 60, 0.05, 0.1])))
        state = car.read()
        for field in fields(state):
            assert np.isfinite(getattr(state, field.name)).all(), field.name
        assert speed_of(state).max() < 90.0
        assert np.abs(state.yaw_rate).max() < 15.0


def test_a_state_has_the_documented_shapes_and_keeps_its_values() -> None:
    car = SimulatedCar(TRACK, count=3)
    state = car.read()
    before = {field.name: getattr(state, field.name).copy() for field in fields(state)}
    for field in fields(state):
        value = getattr(state, field.name)
        pair = field.name in ("position", "velocity", "acceleration")
        expected = (3, 2) if pair else (3, 4) if field.name.startswith("wheel_") else (3,)
        assert value.shape == expected, field.name
        assert value.dtype == {"gear": np.int64, "wheels_out": np.int64, "collided": np.bool_}.get(
            field.name, np.float64
        )
    car.apply(controls(3, steer=0.5, throttle=1.0))
    car.advance(0.5)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(state, name), value)


def test_the_same_seed_drives_the_same_course_and_another_seed_starts_elsewhere() -> None:
    def course(seed: int) -> FloatArray:
        car = SimulatedCar(TRACK, count=4, seed=seed)
        for i in range(20):
            car.apply(controls(4, steer=0.1 * np.sin(i), throttle=0.6))
            car.advance(0.05)
        return car.read().position

    np.testing.assert_array_equal(course(1), course(1))
    assert not np.allclose(course(1), course(2))


def test_many_cars_drive_as_each_would_alone() -> None:
    car = SimulatedCar(TRACK, count=5, seed=3, start="line")
    alone = SimulatedCar(TRACK, count=1, seed=3, start="line")
    steer = np.linspace(-0.2, 0.2, 5)
    for _ in range(30):
        car.apply(Controls(steer, np.full(5, 0.7), np.zeros(5)))
        alone.apply(Controls(steer[3:4], np.full(1, 0.7), np.zeros(1)))
        car.advance(0.05)
        alone.advance(0.05)
    np.testing.assert_allclose(car.read().position[3], alone.read().position[0], rtol=1e-9)


def test_a_random_start_rolls_along_the_road() -> None:
    car = SimulatedCar(TRACK, count=200, seed=5)
    state = car.read()
    at = TRACK.project(state.position)
    assert (np.abs(at.gap) < np.where(at.gap > 0.0, at.width_left, at.width_right) - 1.0).all()
    assert np.abs(np.angle(np.exp(1j * (state.heading - at.heading)))).max() < 0.4  # the fast line crosses the road
    assert len(np.unique(np.round(at.s / 50))) > 30
    speed = speed_of(state)
    assert speed.min() > 3.0
    assert (state.wheels_out == 0).all()


def test_the_line_start_is_before_the_line_on_the_centre() -> None:
    car = SimulatedCar(TRACK, start="line")
    at = TRACK.project(car.read().position)
    assert at.s[0] == pytest.approx(TRACK.length - 10.0, abs=0.1)
    assert abs(at.gap[0]) < 0.01


def test_reset_restarts_only_the_cars_it_names_and_time_goes_on() -> None:
    car = SimulatedCar(TRACK, count=3, seed=1)
    car.apply(controls(3, throttle=1.0))
    car.advance(1.0)
    before = car.read()
    car.reset(np.array([False, True, False]))
    after = car.read()
    assert not np.allclose(after.position[1], before.position[1])
    np.testing.assert_array_equal(after.position[[0, 2]], before.position[[0, 2]])
    np.testing.assert_array_equal(after.velocity[[0, 2]], before.velocity[[0, 2]])
    assert (after.time == 1.0).all()


def off_the_road(gap_beyond_edge: float, speed: float, heading: float = 0.0) -> SimulatedCar:
    """One car on the longest straight, this far left of the edge, at this angle to the road."""
    car = SimulatedCar(TRACK, start="line")
    straight = np.convolve(np.abs(TRACK.curvature), np.ones(40), mode="valid").argmin() + 10
    s = TRACK.s[straight : straight + 1]
    left, _ = TRACK.widths_at(s)
    position = TRACK.position_at(s, left + gap_beyond_edge)
    car._index[:] = straight
    car._dynamics.restart(
        np.array([0]), position[:, 0] + 1j * position[:, 1], TRACK.heading_at(s) + heading, np.array([speed])
    )
    car._touch_ground()
    return car


@pytest.mark.parametrize(("beyond", "out"), [(-3.0, 0), (0.0, 0), (1.0, 2), (3.0, 4)])
def test_wheels_out_counts_wheels_beyond_the_kerb(beyond: float, out: int) -> None:
    assert off_the_road(beyond, 10.0).read().wheels_out[0] == out


def test_grass_slows_a_coasting_car_more_than_asphalt() -> None:
    def lost(beyond: float) -> float:
        car = off_the_road(beyond, 20.0)
        car.advance(0.5)
        return 20.0 - float(speed_of(car.read())[0])

    assert lost(4.0) > lost(-5.0) + 0.3


def test_grass_grips_less_than_kerb_and_kerb_less_than_asphalt() -> None:
    def braking(beyond: float) -> float:
        car = off_the_road(beyond, 20.0)
        car.apply(controls(1, brake=1.0))
        car.advance(0.3)
        acceleration = car.read().acceleration
        assert acceleration is not None
        return float(-acceleration[0, 0])

    asphalt, grass = braking(-4.0), braking(4.0)
    assert 0.5 < grass / asphalt < 0.7
    assert grass < braking(0.0) < asphalt


def test_the_wall_stops_a_car_and_says_so_until_the_reset() -> None:
    car = off_the_road(5.0, 25.0, heading=0.6)
    assert not car.read().collided[0]
    car.advance(1.5)
    state = car.read()
    assert state.collided[0]
    assert speed_of(state)[0] < 20.0
    at = TRACK.project(state.position)
    assert at.gap[0] < at.width_left[0] + 10.5
    car.reset(np.array([True]))
    assert not car.read().collided[0]


def test_steering_takes_time_to_turn() -> None:
    car = SimulatedCar(TRACK, start="line")
    car.apply(controls(1, steer=1.0))
    car.advance(0.1)
    assert car.read().steer[0] == pytest.approx(0.1 * GT3.steer_rate, rel=0.01)


@pytest.mark.parametrize("wrong", [{"start": "pits"}, {"count": 0}, {"physics_hz": 100.0}])
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        SimulatedCar(TRACK, **wrong)  # type: ignore[arg-type]  # what is wrong on purpose


def test_controls_that_are_not_numbers_count_as_none() -> None:
    car = SimulatedCar(TRACK, start="line")
    car.apply(Controls(np.array([np.nan]), np.array([np.inf]), np.array([np.nan])))
    car.advance(0.2)
    assert np.isfinite(car.read().position).all()

"""States from pages: SI units, our ground plane, and what a single page cannot tell."""

import math
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.reading.state import ASSUMPTIONS, CarMoved, StateReader, StateUnusable
from racing.car import CarState
from tests.support.game_pages import CAR, GRAPHICS, PHYSICS, Moments, WrittenGame


class Rig:
    """A written game, a clock, and what reads both."""

    def __init__(self, folder: Path, csp: bool = False, full_lock: float = 1.0) -> None:
        self.game, self.moments = WrittenGame(folder, csp), Moments()
        self.pages, self.states = GamePages(self.moments), StateReader(full_lock)

    def state(self) -> CarState:
        return self.states.state(self.pages.read())

    def wake_csp(self) -> None:
        """CSP's data count once they have changed."""
        self.pages.read()
        self.game.car_packet()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return Rig(tmp_path)


@pytest.fixture
def csp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    rig = Rig(tmp_path, csp=True)
    rig.wake_csp()
    return rig


def test_every_array_has_the_shape_of_one_car(csp: Rig) -> None:
    state = csp.state()
    assert {len(getattr(state, name)) for name in CarState.__dataclass_fields__} == {1}
    assert state.position.shape == state.velocity.shape == (1, 2)
    assert state.wheel_slip is not None
    assert state.wheel_slip.shape == (1, 4)


def test_driving_along_the_games_z_is_driving_along_our_x(rig: Rig) -> None:
    rig.game.drive(where=(10.0, 5.0, 20.0), velocity=(0.0, 0.1, 30.0), heading=0.0)
    state = rig.state()
    assert state.position.tolist() == [[20.0, 10.0]]
    assert state.heading[0] == 0.0
    assert state.velocity.tolist() == [[30.0, 0.0]]


def test_a_car_that_slides_to_its_left_moves_to_the_left(rig: Rig) -> None:
    # The nose points 0.5 rad to the left of the z axis; the car moves a bit further to the left than its nose.
    rig.game.drive(velocity=(20.0 * math.sin(0.6), 0.0, 20.0 * math.cos(0.6)), heading=-0.5)
    state = rig.state()
    assert state.heading[0] == pytest.approx(0.5)
    assert state.velocity[0] == pytest.approx([20.0 * math.cos(0.1), 20.0 * math.sin(0.1)], rel=1e-5)


def test_a_left_bend_has_positive_yaw_rate_acceleration_and_steering(rig: Rig) -> None:
    rig.game.put(PHYSICS, 296, "3f", 0.0, 0.4, 0.0)
    rig.game.put(PHYSICS, 44, "3f", 1.5, 0.0, -0.5)
    rig.game.put(PHYSICS, 24, "f", -0.25)
    state = rig.state()
    assert state.yaw_rate[0] == pytest.approx(0.4)
    assert state.acceleration is not None
    assert state.acceleration[0] == pytest.approx([-0.5 * 9.80665, 1.5 * 9.80665])
    assert state.steer[0] == 0.25


@pytest.mark.parametrize(("written", "meant"), [(0, -1), (1, 0), (2, 1), (7, 6)])
def test_gears_count_from_reverse(rig: Rig, written: int, meant: int) -> None:
    rig.game.put(PHYSICS, 16, "i", written)
    assert rig.state().gear.tolist() == [meant]


def test_what_the_driver_and_the_wheels_do_is_taken_as_it_is(rig: Rig) -> None:
    rig.game.put(PHYSICS, 4, "2f", 0.75, 0.5)
    rig.game.put(PHYSICS, 20, "i", 6500)
    rig.game.put(PHYSICS, 72, "4f", 3000.0, 3100.0, 3200.0, 3300.0)
    rig.game.put(PHYSICS, 104, "4f", 90.0, 91.0, 92.0, 93.0)
    rig.game.put(PHYSICS, 244, "i", 3)
    state = rig.state()
    assert (state.throttle[0], state.brake[0], state.engine_rpm[0], state.wheels_out[0]) == (0.75, 0.5, 6500.0, 3)
    assert state.wheel_load is not None
    assert state.wheel_load.tolist() == [[3000.0, 3100.0, 3200.0, 3300.0]]
    assert state.wheel_angular_speed is not None
    assert state.wheel_angular_speed.tolist() == [[90.0, 91.0, 92.0, 93.0]]


def test_slip_has_no_scale_without_csp_and_is_absent(rig: Rig) -> None:
    rig.game.put(PHYSICS, 56, "4f", 5.0, 5.0, 5.0, 5.0)
    assert rig.state().wheel_slip is None


def test_csp_brings_slip_and_a_position_of_the_same_moment(csp: Rig) -> None:
    csp.game.put(CAR, 88, "3f", 7.0, 0.0, 9.0)
    for wheel in range(4):
        csp.game.put(CAR, 148 + 120 * wheel + 116, "f", 0.25 * wheel)
    state = csp.state()
    assert state.position.tolist() == [[9.0, 7.0]]
    assert state.wheel_slip is not None
    assert state.wheel_slip.tolist() == [[0.0, 0.25, 0.5, 0.75]]


def contacts(game: WrittenGame, z: float) -> None:
    """Four contact points around (10, 0, z) of a car that points along the z axis."""
    game.put(PHYSICS, 420, "12f", 11.0, 0.0, z + 1.5, 9.0, 0.0, z + 1.5, 11.0, 0.0, z - 1.5, 9.0, 0.0, z - 1.5)


def test_what_is_drawn_lags_behind_and_the_tyres_tell_where_the_car_is_now(rig: Rig) -> None:
    rig.game.drive(where=(10.0, 0.0, 20.0), velocity=(0.0, 0.0, 0.0))
    contacts(rig.game, 20.25)
    assert rig.state().position[0] == pytest.approx([20.0, 10.0])
    rig.game.drive(where=(10.0, 0.0, 90.0), velocity=(0.0, 0.0, 60.0))
    contacts(rig.game, 91.25)
    assert rig.state().position[0] == pytest.approx([91.0, 10.0])


def test_the_way_from_the_tyres_to_the_car_turns_with_the_car(rig: Rig) -> None:
    rig.game.drive(where=(10.0, 0.0, 20.0), velocity=(0.0, 0.0, 0.0))
    contacts(rig.game, 20.25)
    rig.state()
    rig.game.drive(where=(10.0, 0.0, 20.0), velocity=(30.0, 0.0, 0.0), heading=-math.pi / 2.0)
    contacts(rig.game, 20.0)
    assert rig.state().position[0] == pytest.approx([20.0, 9.75])


@pytest.mark.parametrize("away", [400.0, math.nan])
def test_tyres_that_are_somewhere_else_tell_nothing(rig: Rig, away: float) -> None:
    contacts(rig.game, away)
    assert rig.state().position.tolist() == [[20.0, 10.0]]


def test_tyres_that_part_from_what_is_drawn_are_a_car_that_was_moved(rig: Rig) -> None:
    rig.game.drive(where=(10.0, 0.0, 20.0), velocity=(0.0, 0.0, 60.0))
    contacts(rig.game, 30.0)
    rig.state()
    contacts(rig.game, 32.0)
    with pytest.raises(CarMoved, match="was moved by 12 m at once"):
        rig.state()
    rig.game.drive(where=(10.0, 0.0, 400.0), velocity=(0.0, 0.0, 0.0))
    assert rig.state().position[0] == pytest.approx([400.0, 10.0])


def test_a_page_without_tyres_tells_nothing_also_near_the_origin(rig: Rig) -> None:
    rig.game.drive(where=(1.0, 0.0, 2.0))
    rig.game.put(PHYSICS, 420, "12f", *[0.0] * 12)
    assert rig.state().position.tolist() == [[2.0, 1.0]]
    rig.game.put(GRAPHICS, 252, "3f", 1.0, 0.0, 99.0)
    assert rig.state().position.tolist() == [[99.0, 1.0]]


def test_a_packet_of_csp_gives_one_position_and_then_the_tyres_tell_where_the_same_point_is(csp: Rig) -> None:
    csp.game.drive(where=(10.0, 0.0, 20.0), velocity=(0.0, 0.0, 30.0))
    contacts(csp.game, 20.0)
    csp.game.put(CAR, 88, "3f", 10.0, 0.0, 20.4)
    assert csp.state().position[0] == pytest.approx([20.4, 10.0])
    csp.game.drive(where=(10.0, 0.0, 20.0), velocity=(0.0, 0.0, 30.0))
    contacts(csp.game, 21.5)
    assert csp.state().position[0] == pytest.approx([21.9, 10.0])


def test_a_source_that_steers_in_degrees_is_told_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    rig = Rig(tmp_path, full_lock=320.0)
    rig.game.put(PHYSICS, 24, "f", 160.0)
    assert rig.state().steer[0] == -0.5
    rig.game.put(PHYSICS, 24, "f", -400.0)
    assert rig.state().steer[0] == 1.0


@pytest.mark.parametrize("full_lock", [0.0, -1.0, math.nan])
def test_a_lock_that_is_none_is_refused(full_lock: float) -> None:
    with pytest.raises(ValueError, match="full_lock"):
        StateReader(full_lock)


def test_time_goes_on_with_driving_alone(rig: Rig) -> None:
    times = [rig.state().time[0]]
    for seconds in (0.05, 0.05):
        rig.moments.now += seconds
        times.append(rig.state().time[0])
    rig.states.interrupt()
    rig.moments.now += 60.0
    times.append(rig.state().time[0])
    rig.states.restart()
    rig.moments.now += 60.0
    times.append(rig.state().time[0])
    rig.moments.now += 0.05
    times.append(rig.state().time[0])
    assert times == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.1, 0.15])


def test_damage_that_grows_is_a_hit_until_the_car_starts_afresh(rig: Rig) -> None:
    rig.game.put(PHYSICS, 224, "5f", 3.0, 0.0, 0.0, 0.0, 0.0)
    assert not rig.state().collided[0]
    rig.game.put(PHYSICS, 224, "5f", 3.0, 0.0, 0.5, 0.0, 0.0)
    assert rig.state().collided[0]
    assert rig.state().collided[0]
    rig.states.restart()
    assert not rig.state().collided[0]


def test_a_repair_is_no_hit_and_the_next_hit_counts_from_there(rig: Rig) -> None:
    rig.game.put(PHYSICS, 224, "5f", 9.0, 0.0, 0.0, 0.0, 0.0)
    rig.state()
    rig.game.put(PHYSICS, 224, "5f", 0.0, 0.0, 0.0, 0.0, 0.0)
    assert not rig.state().collided[0]
    rig.game.put(PHYSICS, 224, "5f", 1.0, 0.0, 0.0, 0.0, 0.0)
    assert rig.state().collided[0]


def test_csp_counts_hits_that_leave_no_damage(csp: Rig) -> None:
    csp.game.put(CAR, 664, "I", 12)
    assert not csp.state().collided[0]
    csp.game.put(CAR, 664, "I", 13)
    assert csp.state().collided[0]


@pytest.mark.parametrize(("offset", "name"), [(24, "steer"), (32, "velocity"), (208, "heading"), (300, "yaw rate")])
def test_a_value_that_is_no_number_is_no_state(rig: Rig, offset: int, name: str) -> None:
    rig.game.put(PHYSICS, offset, "f", math.nan)
    with pytest.raises(StateUnusable, match=f"a {name} that is no number"):
        rig.state()


@pytest.mark.parametrize(("offset", "name"), [(72, "wheel load"), (104, "wheel angular speed")])
def test_a_wheel_that_is_no_number_is_no_state(rig: Rig, offset: int, name: str) -> None:
    rig.game.put(PHYSICS, offset, "f", math.inf)
    with pytest.raises(StateUnusable, match=f"a {name} that is no number"):
        rig.state()


def test_a_slip_of_csp_that_is_no_number_is_no_state(csp: Rig) -> None:
    csp.game.put(CAR, 148 + 116, "f", math.nan)
    with pytest.raises(StateUnusable, match="a wheel slip that is no number"):
        csp.state()


def test_every_assumption_names_its_source_and_what_contradicts_it() -> None:
    assert len({assumption.name for assumption in ASSUMPTIONS}) == len(ASSUMPTIONS) >= 8
    assert all(a.what and a.source and a.contradicted_by for a in ASSUMPTIONS)


def test_a_state_does_not_change_when_the_game_goes_on(rig: Rig) -> None:
    state = rig.state()
    kept = state.position.copy()
    rig.game.drive(where=(99.0, 0.0, 99.0))
    rig.state()
    assert np.array_equal(state.position, kept)

"""The car in a running fake game, whose offsets and axes were written down by somebody else: both must agree."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.reading.assumptions import AssumptionCheck, Judgement
from bridge.assetto_corsa.reading.layout import Status, text
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.reading.state import StateReader
from tests.support.fake_game import FakeGame
from tests.support.idle_backend import IdleBackend
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
        running.live()
        yield running


@pytest.fixture
def car(game: FakeGame) -> Iterator[AssettoCorsaCar]:
    car = AssettoCorsaCar(GamePages(), IdleBackend(), start_afresh=game.live)
    yield car
    car.close()


def drivable(car: AssettoCorsaCar) -> bool:
    try:
        car.read()
    except NotDriving:
        return False
    return True


def read_many(car: AssettoCorsaCar) -> None:
    for _ in range(100):
        car.read()


def read_while_fast(car: AssettoCorsaCar) -> None:
    """Read on; a state of a slow car is one of the new session, which may not follow on the old one."""
    while True:
        assert car.read().velocity[0, 0] > 25.0


def test_the_pages_say_what_really_is(game: FakeGame) -> None:
    with GamePages() as pages:
        game.tell("put", s=100.0)

        def there() -> bool:
            # A reader that has seen the car elsewhere would say that it was moved, which is true.
            return bool(StateReader().state(pages.read()).position[0] == pytest.approx(game.truth()["position"]))

        wait_until(there, "the car")
        states = StateReader()
        states.state(pages.read())
        game.tell("human", gas=0.6, steer=0.1)
        game.tell("put", s=100.0, gap=1.0, speed=25.0, askew=0.05)
        wait_until(lambda: game.truth()["yaw_rate"] < -0.1, "the car to turn to the right")
        game.tell("mode", mode="pause")
        wait_until(lambda: pages.read().status is Status.PAUSE, "the pause")
        state, truth = states.state(pages.read()), game.truth()
        session = pages.static()
    assert state.position[0] == pytest.approx(truth["position"], abs=1e-3)
    assert np.sin(state.heading[0] - truth["heading"]) == pytest.approx(0.0, abs=1e-5)
    assert state.velocity[0] == pytest.approx(truth["velocity"], abs=1e-3)
    assert state.yaw_rate[0] == pytest.approx(truth["yaw_rate"], abs=1e-5)
    assert state.steer[0] == pytest.approx(truth["steer"], abs=1e-5)
    assert state.gear[0] == truth["gear"] - 1
    assert text(session.carModel) == "ks_fake_gt3"


def test_a_pause_a_menu_and_an_ended_game_are_no_experience(game: FakeGame, car: AssettoCorsaCar) -> None:
    wait_until(lambda: drivable(car), "a state")
    for mode in ("pause", "replay", "off", "menu"):
        game.tell("mode", mode=mode)
        wait_until(lambda: not drivable(car), f"{mode} to stop the drive")
        game.live()
        wait_until(lambda: drivable(car), f"a state after {mode}")
    game.tell("vanish")
    wait_until(lambda: not drivable(car), "the end of the game to stop the drive")
    game.tell("come_back", into="live")
    wait_until(lambda: drivable(car), "a state of the game that came back")


def test_a_game_that_was_killed_leaves_no_state_and_its_successor_is_driven(
    game: FakeGame, car: AssettoCorsaCar
) -> None:
    wait_until(lambda: drivable(car), "a state")
    game.crash()
    wait_until(lambda: not drivable(car), "the remains to give no state")
    with pytest.raises(NotDriving, match="written nothing"):
        car.read()
    game.start()
    game.live()
    wait_until(lambda: drivable(car), "a state of the successor")


def test_a_car_that_is_put_elsewhere_is_noticed(game: FakeGame, car: AssettoCorsaCar) -> None:
    game.tell("put", s=100.0)
    wait_until(lambda: drivable(car), "a state")
    game.tell("put", s=400.0)
    with pytest.raises(NotDriving, match="moved by"):
        read_many(car)


@pytest.mark.parametrize("metres_before_the_grid", [400.0, 1.0], ids=["elsewhere", "where it would begin"])
@pytest.mark.parametrize("pictures_hz", [333.0, 20.0])
def test_a_restart_of_the_session_is_never_a_state(
    game: FakeGame, car: AssettoCorsaCar, metres_before_the_grid: float, pictures_hz: float
) -> None:
    game.tell("rates", graphics_hz=pictures_hz)
    game.tell("restart", into="live")
    game.tell("put", s=game.truth()["s"] - metres_before_the_grid, speed=30.0)
    wait_until(lambda: drivable(car), "a state")
    game.tell("restart", into="live")
    with pytest.raises(NotDriving, match="the session was restarted") as caught:
        read_while_fast(car)
    assert caught.value.status is Status.LIVE
    wait_until(lambda: drivable(car), "a state of the new session")


def test_a_car_that_csp_lets_go_of_is_driven_again_when_it_is_taken_back(game: FakeGame) -> None:
    backend = CustomAI()
    backend.open()
    car = AssettoCorsaCar(GamePages(), backend, start_afresh=game.live)
    try:
        wait_until(lambda: drivable(car), "a state")
        game.tell("custom_ai", allowed=False)
        game.tell("restart", into="live")
        wait_until(lambda: not drivable(car), "the restart to be noticed")
        with pytest.raises(NotDriving, match="Custom Shaders Patch has let go of the car"):
            car.read()
        game.tell("custom_ai", allowed=True)
        wait_until(lambda: drivable(car), "a state of the car that was taken back")
    finally:
        car.close()


def test_time_goes_on_as_it_does_here(car: AssettoCorsaCar) -> None:
    wait_until(lambda: drivable(car), "a state")
    began, first = time.perf_counter(), car.read().time[0]
    for _ in range(50):
        last = car.read().time[0]
    assert last - first == pytest.approx(time.perf_counter() - began, abs=0.05)


@pytest.mark.slow
def test_a_weaving_drive_contradicts_no_assumption(game: FakeGame) -> None:
    check = AssumptionCheck()
    game.tell("put", s=100.0, speed=25.0)
    with GamePages() as pages:
        for turn in range(8):
            game.tell("human", steer=0.06 if turn % 2 else -0.06, gas=0.5)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                check.add(pages.read())
                time.sleep(0.005)
    found = {finding.name: finding for finding in check.findings()}
    assert not [finding for finding in found.values() if finding.verdict is Judgement.CONTRADICTED]
    assert {name for name, finding in found.items() if finding.verdict is Judgement.HOLDS} >= {
        "heading",
        "acceleration",
    }

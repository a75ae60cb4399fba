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
from tests.fake_ac.car import PHYSICS_HZ
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
    return not why_not(car)


def why_not(car: AssettoCorsaCar) -> str:
    """Why there is no state; empty when there is one."""
    try:
        car.read()
    except NotDriving as why:
        return str(why)
    return ""


def stopped(car: AssettoCorsaCar, slowest: float) -> NotDriving:
    """Read until there is no state, and why; one of a car that is slower (m/s) may not follow on those before."""
    while True:
        try:
            state = car.read()
        except NotDriving as why:
            return why
        assert state.velocity[0, 0] >= slowest


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

        def turns() -> bool:
            now = game.truth()
            if now["yaw_rate"] < -0.1:
                return True
            if now["velocity"][0] < 20.0:
                # It has not been put there yet, or a busy machine has not looked until it was in the wall.
                game.tell("put", s=100.0, gap=1.0, speed=25.0, askew=0.05)
            return False

        wait_until(turns, "the car to turn to the right")
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
    assert "written nothing" in why_not(car)
    game.start()
    game.live()
    wait_until(lambda: drivable(car), "a state of the successor")


def test_a_car_that_is_put_elsewhere_is_noticed(game: FakeGame, car: AssettoCorsaCar) -> None:

    def moved() -> bool:
        """Whether it is told so; on a busy machine the drive may have been interrupted before."""
        game.tell("put", s=100.0)
        wait_until(lambda: drivable(car), "a state")
        game.tell("put", s=400.0)
        return "moved by" in str(stopped(car, -1.0))

    wait_until(moved, "it to be told")


@pytest.mark.parametrize("metres_before_the_grid", [400.0, 1.0], ids=["elsewhere", "where it would begin"])
@pytest.mark.parametrize("pictures_hz", [333.0, 20.0])
def test_a_restart_of_the_session_is_never_a_state(
    game: FakeGame, car: AssettoCorsaCar, metres_before_the_grid: float, pictures_hz: float
) -> None:
    game.tell("rates", graphics_hz=pictures_hz)

    def restarted() -> bool:
        """Whether it is told so; on a busy machine the drive may have been interrupted before."""
        game.tell("restart", into="live")
        game.tell("put", s=game.truth()["s"] - metres_before_the_grid, speed=30.0)
        wait_until(lambda: drivable(car), "a state")
        game.tell("restart", into="live")
        why = stopped(car, 25.0)
        return "the session was restarted" in str(why) and why.status is Status.LIVE

    wait_until(restarted, "it to be told")
    wait_until(lambda: drivable(car), "a state of the new session")


def test_a_car_that_csp_lets_go_of_is_driven_again_when_it_is_taken_back(game: FakeGame) -> None:
    backend = CustomAI()
    backend.open()
    car = AssettoCorsaCar(GamePages(), backend, start_afresh=game.live)
    try:
        wait_until(lambda: drivable(car), "a state")
        game.tell("custom_ai", allowed=False)
        game.tell("restart", into="live")
        wait_until(lambda: "Custom Shaders Patch has let go of the car" in why_not(car), "it to be noticed")
        game.tell("custom_ai", allowed=True)
        wait_until(lambda: drivable(car), "a state of the car that was taken back")
    finally:
        car.close()


def test_time_goes_on_as_it_does_here(car: AssettoCorsaCar) -> None:
    def goes_on() -> bool:
        """Whether it does so over fifty states; a busy machine may interrupt the drive, in which it stands still."""
        try:
            before, first, began = time.perf_counter(), car.read().time[0], time.perf_counter()
            for _ in range(50):
                ended, last, after = time.perf_counter(), car.read().time[0], time.perf_counter()
        except NotDriving:
            return False
        assert ended - began <= last - first <= after - before
        return True

    wait_until(goes_on, "fifty states")


@pytest.mark.slow
def test_a_weaving_drive_contradicts_no_assumption(game: FakeGame) -> None:
    check, began, first = AssumptionCheck(), time.perf_counter(), game.truth()["physics_packet"]
    game.tell("put", s=100.0, speed=25.0)
    with GamePages() as pages:
        for turn in range(8):
            game.tell("human", steer=0.06 if turn % 2 else -0.06, gas=0.5)
            before = game.physics("packetId")

            def weaves() -> bool:
                check.add(pages.read())
                return bool(game.physics("packetId") > before + 150)  # noqa: B023 - called in this turn of the loop

            wait_until(weaves, "half a second of driving")
    found = {finding.name: finding for finding in check.findings()}
    contradicted = {name for name, finding in found.items() if finding.verdict is Judgement.CONTRADICTED}
    if (game.truth()["physics_packet"] - first) / PHYSICS_HZ < 0.98 * (time.perf_counter() - began):
        # A busy machine lets the fake game's time fall behind ours, which is true, then.
        contradicted -= {"time"}
    assert not contradicted
    assert {name for name, finding in found.items() if finding.verdict is Judgement.HOLDS} >= {
        "heading",
        "acceleration",
    }

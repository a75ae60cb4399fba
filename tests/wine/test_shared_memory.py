"""The game's shared memory in Windows: named mappings that a Windows process reads and makes, as bridge/ does it."""

import json

import pytest

from tests.support.custom_ai import CONTROLS
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until
from tests.support.windows import Windows

pytestmark = [pytest.mark.wine, pytest.mark.timeout(3600)]

_CONTROL = """
import time
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.supervisor import Supervised
backend = Supervised(CustomAI(answer_seconds=20.0), hold_seconds=0.5)
backend.open()
print("OPEN", flush=True)
while True:
    backend.apply(0.5, 0.25, 0.0)
    time.sleep(0.02)
"""


def test_without_a_game_there_is_a_sentence_and_not_a_parked_car(windows: Windows) -> None:
    with windows.start("-m", "tests.wine.read_pages", "1") as reader:
        assert reader.wait() == 3, reader.errors
    assert reader.output.startswith("The game is not running: its shared memory acpmf_physics does not exist.")
    # Looking must not have made it.
    with windows.start("-m", "tests.wine.read_pages", "1") as reader:
        assert reader.wait() == 3, reader.errors


def test_the_games_packets_are_read_as_they_come(windows: Windows, game: FakeGame) -> None:
    seen = json.loads(windows.run("-m", "tests.wine.read_pages", "3").output)
    where = game.truth()["position"]
    assert seen["track"] == "fake_ring"
    assert seen["status"] == 2
    assert seen["rising"]
    assert seen["packets"] > 100
    assert seen["moved"] >= seen["packets"] - 1
    assert seen["position"] == pytest.approx(where, abs=1.0), "the car stands"


def test_controls_made_in_windows_drive_the_car_until_their_process_is_killed(windows: Windows, game: FakeGame) -> None:
    with windows.start("-c", _CONTROL) as driver:
        wait_until(lambda: "OPEN" in driver.output or driver.process.poll() is not None, "the controls", 30.0)
        assert driver.process.poll() is None, driver.errors
        wait_until(lambda: game.truth()["wish"]["gas"] == pytest.approx(0.25), "the game to be given gas")
        # Left is positive for us, right for the game.
        assert game.truth()["wish"]["steer"] == pytest.approx(-0.5)
        driver.kill()
        wait_until(lambda: game.truth()["wish"]["gas"] == 0.0, "the guard to let go of the gas")
        wait_until(lambda: not (game.shm / CONTROLS).exists(), "the page to go with its last holder")

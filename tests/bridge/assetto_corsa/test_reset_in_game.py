"""The way to a start in the running fake game, in real time: by teleport, by a joystick's buttons, or not at all."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.vjoy import VJoy
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.starts.reset import FreshStart, GameDoesNotAnswer, Limits, sight_of
from bridge.assetto_corsa.starts.starts import Starts
from racing.track import Track
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until
from tests.support.wired_joystick import WiredJoystick

TRACK = Track.generate(7)
PATIENT = Limits(live=6.0, place=60.0, stand=60.0)


def flat(_position: object, _heading: float) -> float:
    """The height of the fake game's road, m."""
    return 12.5


@pytest.fixture
def fake_game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        yield game


def test_the_fake_game_brings_its_car_to_a_start_by_teleport(fake_game: FakeGame) -> None:
    fake_game.live()
    fake_game.tell("put", s=300.0, speed=20.0)
    backend = CustomAI()
    backend.open()
    starts = Starts(TRACK, flat, seed=3)
    drawn = Starts(TRACK, flat, seed=3).draw()
    with GamePages() as pages:
        start = FreshStart(lambda: sight_of(pages), backend, starts, PATIENT)
        start()
        sight = sight_of(pages)

    assert start.way == "teleport"
    assert math.dist(sight.position, drawn.position) < 5.0
    assert math.cos(sight.heading - drawn.heading) > 0.99
    backend.close()


@pytest.mark.slow
def test_the_fake_game_brings_its_car_to_a_start_by_the_buttons_of_a_joystick(fake_game: FakeGame) -> None:
    fake_game.live()
    fake_game.tell("put", s=300.0, speed=20.0)
    backend = VJoy(lambda: WiredJoystick(fake_game))
    backend.open()
    with GamePages() as pages:
        start = FreshStart(lambda: sight_of(pages), backend, None, PATIENT)
        start()
        sight = sight_of(pages)
    backend.close()

    assert start.way == "restart"
    assert TRACK.length - float(TRACK.project(np.array([sight.position])).s[0]) < 30.0, "on the grid, before the line"


def test_the_fake_game_in_its_menu_is_reported_within_the_limits(fake_game: FakeGame) -> None:
    fake_game.live()
    backend = CustomAI()
    backend.open()
    fake_game.tell("mode", mode="menu")
    limits = Limits(live=0.2, restart=0.5, stand=0.5)
    with GamePages() as pages:
        start = FreshStart(lambda: sight_of(pages), backend, Starts(TRACK, flat, seed=3), limits)

        with pytest.raises(GameDoesNotAnswer, match="a menu"):
            start()
    backend.close()


def test_the_units_of_a_sight_are_those_of_racing(fake_game: FakeGame) -> None:
    fake_game.live()
    fake_game.tell("put", s=100.0, gap=1.0, speed=15.0)
    with GamePages() as pages:

        def along() -> float:
            return float(TRACK.project(np.array([sight_of(pages).position])).s[0])

        wait_until(lambda: 100.0 < along() < 130.0, "the place is that of the track")
        sight = sight_of(pages)
    at = TRACK.project(np.array([sight.position]))

    assert 8.0 < sight.speed < 16.0, "rolling out in m/s"
    assert math.cos(sight.heading - at.heading[0]) > 0.95

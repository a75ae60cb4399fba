"""The game's car: new packets of a LIVE game become states, and anything else neutral controls and a reason."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving
from bridge.assetto_corsa.layout import Status
from bridge.assetto_corsa.memory import GameError
from bridge.assetto_corsa.pages import GamePages
from racing.car import Car, Controls
from tests.support.game_pages import GRAPHICS, LIVE, OFF, PAUSE, PHYSICS, REPLAY, Moments, WrittenGame
from tests.support.idle_backend import IdleBackend


class Track:
    """A car on a written game: whenever the car waits, the game does what comes next, or writes a packet."""

    def __init__(self, folder: Path) -> None:
        self.game, self.moments, self.wires = WrittenGame(folder), Moments(), IdleBackend()
        self.resets = 0
        self.events: list[Callable[[], None]] = []
        self.writes = True
        self.car = AssettoCorsaCar(
            GamePages(self.moments), self.wires, self.start_afresh, now=self.moments, sleep=self.wait
        )

    def wait(self, seconds: float) -> None:
        self.moments.sleep(seconds)
        if self.events:
            self.events.pop(0)()
        elif self.writes:
            self.game.packet()

    def start_afresh(self) -> None:
        self.resets += 1

    def read(self, seconds: float = 0.05) -> None:
        """A state one control period later."""
        self.moments.now += seconds
        self.game.packet()
        self.car.read()


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Track:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return Track(tmp_path)


def controls(steer: float, throttle: float, brake: float) -> Controls:
    return Controls(np.array([steer]), np.array([throttle]), np.array([brake]))


def test_it_is_a_car_like_any_other(track: Track) -> None:
    car: Car = track.car
    assert car.count == 1


def test_each_state_is_of_a_packet_of_its_own(track: Track) -> None:
    packets = []
    for _ in range(3):
        track.car.read()
        assert track.car.latest is not None
        packets.append(track.car.latest.physics.packetId)
    assert len(set(packets)) == 3


def test_a_packet_that_is_there_is_returned_without_waiting(track: Track) -> None:
    track.car.read()
    track.game.packet()
    before = track.moments.now
    track.car.read()
    assert track.moments.now == before


def test_what_a_dead_game_left_behind_is_no_state(track: Track) -> None:
    track.writes = False
    with pytest.raises(NotDriving, match=r"written nothing for 0\.1 s") as caught:
        track.car.read()
    assert caught.value.status is None
    assert track.wires.sent == ["neutral"]


@pytest.mark.parametrize(("shown", "word"), [(OFF, "menu"), (REPLAY, "replay"), (PAUSE, "paused")])
def test_whatever_is_not_live_is_no_state_and_lets_go_of_the_car(track: Track, shown: int, word: str) -> None:
    track.car.read()
    track.game.show(shown)
    track.game.packet()
    with pytest.raises(NotDriving, match=word) as caught:
        track.car.read()
    assert caught.value.status is Status(shown)
    assert track.wires.sent == ["neutral"]


def test_a_pause_while_waiting_for_a_packet_is_noticed(track: Track) -> None:
    track.car.read()
    track.events = [lambda: track.game.show(PAUSE)]
    with pytest.raises(NotDriving, match="paused"):
        track.car.read()


def test_driving_goes_on_after_a_pause_as_if_no_time_had_passed(track: Track) -> None:
    track.car.read()
    track.read()
    before = track.car.read().time[0]
    track.game.show(PAUSE)
    with pytest.raises(NotDriving):
        track.car.read()
    track.moments.now += 60.0
    track.game.show(LIVE)
    assert track.car.read().time[0] == before


def test_a_game_that_ends_and_comes_back_is_driven_again(track: Track) -> None:
    track.car.read()
    track.game.vanish()
    track.writes = False
    with pytest.raises(NotDriving):
        track.car.read()
    track.moments.now += 2.0
    with pytest.raises(NotDriving, match="not running") as caught:
        track.car.read()
    assert caught.value.status is None
    track.game.come_back(packet=1)
    track.writes = True
    assert track.car.read().time[0] == 0.0


def test_a_car_that_somebody_moved_starts_a_new_story(track: Track) -> None:
    track.car.read()
    track.game.drive(where=(300.0, 0.0, 20.0))
    with pytest.raises(NotDriving, match="moved by 290 m") as caught:
        track.car.read()
    assert caught.value.status is Status.LIVE
    assert track.wires.sent == ["neutral"]
    assert track.car.read().position[0].tolist() == [20.0, 300.0]


def test_a_car_at_full_speed_is_not_taken_for_a_moved_one(track: Track) -> None:
    track.game.drive(where=(0.0, 0.0, 0.0), velocity=(0.0, 0.0, 90.0))
    track.car.read()
    track.moments.now += 0.5
    track.game.drive(where=(0.0, 0.0, 50.0), velocity=(0.0, 0.0, 90.0))
    assert track.car.read().position[0, 0] == 50.0


def test_a_value_that_is_no_number_is_no_state(track: Track) -> None:
    track.game.put(PHYSICS, 32, "f", math.nan)
    with pytest.raises(NotDriving, match="velocity that is no number"):
        track.car.read()


def test_an_unknown_status_is_no_state(track: Track) -> None:
    track.game.put(GRAPHICS, 4, "i", 9)
    with pytest.raises(NotDriving, match="menu"):
        track.car.read()


def test_controls_go_to_the_backend_as_they_are(track: Track) -> None:
    track.car.apply(controls(-0.5, 0.25, 0.0))
    track.car.advance(0.05)
    assert track.wires.sent == [(-0.5, 0.25, 0.0)]


def test_a_reset_lets_go_starts_afresh_and_forgets_hits_and_the_place(track: Track) -> None:
    track.car.read()
    track.game.put(PHYSICS, 224, "f", 1.0)
    assert track.car.read().collided[0]
    track.car.reset(np.array([False]))
    assert track.resets == 0
    track.car.reset(np.array([True]))
    assert (track.resets, track.wires.sent) == (1, ["neutral"])
    track.game.drive(where=(900.0, 0.0, 900.0))
    assert not track.car.read().collided[0]


def test_a_reset_that_fails_says_why(track: Track) -> None:
    def refuse() -> None:
        raise GameError("the game does not answer")

    car = AssettoCorsaCar(GamePages(track.moments), track.wires, refuse, now=track.moments, sleep=track.wait)
    with pytest.raises(GameError, match="does not answer"):
        car.reset(np.array([True]))


def test_closing_gives_the_controls_back_and_may_be_repeated(track: Track) -> None:
    track.car.read()
    track.car.close()
    track.car.close()
    assert track.wires.sent == ["closed", "closed"]

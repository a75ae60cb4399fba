"""The game's car: new packets of a LIVE game become states, and anything else neutral controls and a reason."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages
from racing.car import Car, Controls
from tests.support.game_pages import CAR, GRAPHICS, LIVE, OFF, PAUSE, PHYSICS, REPLAY, Moments, WrittenGame
from tests.support.idle_backend import IdleBackend


class Track:
    """A car on a written game: whenever the car waits, the game does what comes next, or writes a packet."""

    def __init__(self, folder: Path, csp: bool = False) -> None:
        self.game, self.moments, self.wires = WrittenGame(folder, csp), Moments(), IdleBackend()
        self.takes_over = csp
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
            self.packet()

    def packet(self) -> None:
        """The game writes a packet, and so does CSP while it has the car."""
        self.game.packet()
        if self.takes_over:
            self.game.car_packet()

    def start_afresh(self) -> None:
        self.resets += 1

    def read(self, seconds: float = 0.05) -> None:
        """A state one control period later."""
        self.moments.now += seconds
        self.packet()
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
    track.moments.now += 0.25
    track.game.drive(where=(0.0, 0.0, 30.0), velocity=(0.0, 0.0, 90.0))
    assert track.car.read().position[0, 0] == 30.0


def test_a_bridge_that_stood_still_has_driven_no_step(track: Track) -> None:
    track.car.read()
    track.read(0.29)
    track.moments.now += 4.0
    with pytest.raises(NotDriving, match=r"Nothing was read for 4\.0 s") as caught:
        track.car.read()
    assert caught.value.status is Status.LIVE
    assert track.wires.sent == ["neutral"]
    track.car.read()
    track.read()


def test_a_restart_at_the_same_place_is_seen_by_the_speed(track: Track) -> None:
    track.car.read()
    track.game.drive(velocity=(0.0, 0.0, 17.0))
    track.read()
    track.game.drive(velocity=(0.0, 0.0, 30.0))
    track.read()
    track.game.drive(velocity=(0.0, 0.0, 0.0))
    with pytest.raises(NotDriving, match="changed its speed by 30 m/s at once without a hit"):
        track.car.read()


def test_a_hit_may_stop_a_car_at_once(track: Track) -> None:
    track.car.read()
    track.read()
    track.game.put(PHYSICS, 224, "f", 1.0)
    track.game.drive(velocity=(0.0, 0.0, 0.0))
    assert track.car.read().collided[0]


def lap(track: Track, completed: int, clock_ms: int, place: float) -> None:
    """What the picture shows: laps, the lap's clock, and where along the track from 0 to 1."""
    track.game.put(GRAPHICS, 132, "i", completed)
    track.game.put(GRAPHICS, 140, "i", clock_ms)
    track.game.put(GRAPHICS, 248, "f", place)


@pytest.mark.parametrize(
    ("laps", "clock", "place"), [(1, 10_000, 0.31), (0, 60_100, 0.31)], ids=["the clock went back", "a lap was taken"]
)
def test_a_lap_that_begins_anew_within_the_track_is_a_restart(
    track: Track, laps: int, clock: int, place: float
) -> None:
    lap(track, 1, 60_000, 0.3)
    track.car.read()
    lap(track, laps, clock, place)
    with pytest.raises(NotDriving, match="has begun its lap anew"):
        track.read()


@pytest.mark.parametrize(
    ("laps", "clock", "place"),
    [(1, 59_500, 0.999), (2, 20, 0.001), (1, 20, 0.001), (1, 20, 0.0)],
    ids=["a little jitter", "a lap", "the line without a lap before it", "a track whose places the game does not know"],
)
def test_a_lap_clock_that_begins_anew_at_the_line_is_driving(track: Track, laps: int, clock: int, place: float) -> None:
    lap(track, 1, 60_000, 0.999)
    track.car.read()
    lap(track, laps, clock, place)
    track.read()


@pytest.fixture
def csp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Track:
    """A car that CSP drives."""
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    monkeypatch.setattr(IdleBackend, "name", "csp")
    track = Track(tmp_path, csp=True)
    track.game.put(CAR, 88, "3f", 10.0, 0.0, 20.0)
    return track


def test_a_car_that_csp_lets_go_of_is_driven_no_further_than_two_periods(csp: Track) -> None:
    csp.car.read()
    csp.read()
    csp.takes_over = False
    csp.read()
    with pytest.raises(NotDriving, match="Custom Shaders Patch has let go of the car") as caught:
        csp.read()
    assert caught.value.status is Status.LIVE
    assert csp.wires.sent == ["neutral"]
    csp.takes_over = True
    csp.car.read()


def test_a_packet_of_csp_that_comes_a_moment_later_is_waited_for(csp: Track) -> None:
    csp.car.read()
    csp.takes_over = False
    csp.events = [lambda: None] * 20 + [csp.game.car_packet]
    csp.read(0.145)
    assert not csp.events


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

"""The way to a start: by a game that is scripted to misbehave in simulated time, and by the fake game in real time."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.axes import ground_position
from bridge.assetto_corsa.controls import NEUTRAL, Backend, Button, Command, Vector
from bridge.assetto_corsa.csp import CustomAI
from bridge.assetto_corsa.layout import Status
from bridge.assetto_corsa.memory import GameNotRunning
from bridge.assetto_corsa.pages import GamePages
from bridge.assetto_corsa.reset import FreshStart, GameDoesNotAnswer, Limits, PagesGame, Sight
from bridge.assetto_corsa.starts import LineElevation, Starts
from bridge.assetto_corsa.vjoy import VJoy
from racing.track import Track
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until
from tests.support.wired_joystick import WiredJoystick

TRACK = Track.generate(7)
PITS = (-500.0, -500.0)


class Scripted:
    """A game and the controls of it, in simulated time; what it does wrong is switched on by attributes."""

    def __init__(self, name: str, can_teleport: bool, *buttons: Button) -> None:
        self.name, self.can_teleport, self.buttons = name, can_teleport, frozenset(buttons)
        self.time = 0.0
        self.sight = Sight(Status.LIVE, 1, (0.0, 0.0), 0.0, 0.0, 30.0, 3, 0.0, 0.0, 0.0, 60.0)
        self.held: set[Button] = set()
        self.pressed: list[Button] = []
        self.command = NEUTRAL
        self.gone = self.frozen = self.deaf = self.grounded = self.turned_round = self.stuck_in_neutral = (
            self.restarts_live
        ) = False
        self.human_steers = 0.0
        self.teleports = 0

    # What a reset sees and how time passes.
    def look(self) -> Sight:
        if self.gone:
            raise GameNotRunning("The game is not running.")
        return self.sight

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if not self.frozen and self.sight.status is Status.LIVE:
            speed = max(0.0, self.sight.speed + (10.0 * self.command.throttle - 50.0 * self.command.brake) * seconds)
            along = speed * seconds * np.array([math.cos(self.sight.heading), math.sin(self.sight.heading)])
            x, y = np.array(self.sight.position) + along
            self.sight = replace(
                self.sight,
                packet=self.sight.packet + 1,
                position=(x, y),
                speed=speed,
                steer=self.command.steer + self.human_steers,
                throttle=self.command.throttle,
                brake=self.command.brake,
            )

    # What a reset does.
    def why_not(self) -> str | None:
        return None

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        self.command = Command(steer, throttle, brake)

    def neutral(self) -> None:
        self.command = NEUTRAL

    def teleport(self, position: Vector, direction: Vector) -> None:
        self.teleports += 1
        if not self.deaf and not self.grounded and self.sight.status is Status.LIVE:
            x, y = ground_position(position.x, position.z)
            heading = math.atan2(direction.x, direction.z) + (math.pi if self.turned_round else 0.0)
            gear = 0 if self.stuck_in_neutral or Button.GEAR_UP in self.buttons else 1
            self.sight = replace(self.sight, position=(float(x), float(y)), heading=heading, speed=0.0, gear=gear)

    def press(self, button: Button, down: bool) -> None:
        if not down or button in self.held:
            self.held -= set() if down else {button}
            return
        self.held.add(button)
        self.pressed.append(button)
        if self.deaf:
            return
        if button is Button.GEAR_UP and not self.stuck_in_neutral:
            self.sight = replace(self.sight, gear=self.sight.gear + 1)
        elif button is Button.RESET_SESSION:
            status = Status.LIVE if self.restarts_live else Status.OFF
            self.sight = replace(self.sight, status=status, position=PITS, speed=0.0, gear=1, lap_clock=0.0)
        elif button is Button.START_SESSION and self.sight.status is Status.OFF:
            self.sight = replace(self.sight, status=Status.LIVE)
        elif button is Button.TO_PITS:
            self.sight = replace(self.sight, position=PITS, speed=0.0, gear=0 if self.stuck_in_neutral else 1)


def flat(_position: object) -> float:
    return 2.0


def fresh_start(game: Scripted, rolling: float = 0.0) -> FreshStart:
    starts = Starts(TRACK, flat, seed=1, rolling=rolling) if game.can_teleport else None
    return FreshStart(game, game, starts, now=game.now, sleep=game.sleep)


def csp() -> Scripted:
    return Scripted("csp", True, Button.GEAR_UP, Button.TO_PITS)


def pad() -> Scripted:
    return Scripted("gamepad", False, Button.RESET_SESSION, Button.START_SESSION, Button.TO_PITS)


def test_scripted_controls_are_a_backend() -> None:
    backend: Backend = csp()
    assert backend.why_not() is None


def test_a_teleport_brings_the_car_onto_the_track_standing_in_gear_and_neutral() -> None:
    game = csp()
    start = fresh_start(game)
    places = set()

    for _ in range(5):
        start()
        at = TRACK.project(np.array([game.sight.position]))
        places.add(game.sight.position)
        assert abs(at.gap[0]) < min(at.width_left[0], at.width_right[0])
        assert math.cos(game.sight.heading - at.heading[0]) > 0.99
        assert game.sight.speed < 1.0
        assert game.sight.gear >= 1

    assert start.way == "teleport"
    assert len(places) == 5, "each start is somewhere else"
    assert game.command == NEUTRAL


def test_a_game_that_turns_cars_the_other_way_is_found_out_once() -> None:
    game = csp()
    game.turned_round = True
    start = fresh_start(game)

    start()
    assert game.teleports == 2
    start()
    assert game.teleports == 3
    assert math.cos(game.sight.heading - TRACK.project(np.array([game.sight.position])).heading[0]) > 0.99


def test_a_rolling_start_is_on_the_track_and_fast() -> None:
    game = csp()
    fresh_start(game, rolling=1.0)()

    assert game.sight.speed > 3.0
    assert Starts(TRACK, flat).off_track(game.sight.position) is None


def test_without_a_teleport_the_session_is_restarted_and_its_menu_dismissed() -> None:
    game = pad()
    start = fresh_start(game)

    start()

    assert start.way == "restart"
    assert game.pressed == [Button.RESET_SESSION, Button.START_SESSION]
    assert not game.held
    assert game.sight.position == pytest.approx(PITS)


def test_a_session_that_goes_on_by_itself_is_not_started_twice() -> None:
    game = pad()
    game.restarts_live = True
    fresh_start(game)()

    assert game.pressed == [Button.RESET_SESSION]


def test_a_menu_that_is_shown_at_first_is_dismissed_by_the_button() -> None:
    game = pad()
    game.sight = replace(game.sight, status=Status.OFF)

    fresh_start(game)()

    assert game.sight.status is Status.LIVE


def test_where_a_teleport_fails_the_pits_are_tried() -> None:
    game = csp()
    game.grounded = True
    start = fresh_start(game)

    start()

    assert start.way == "pits"
    assert game.teleports == Limits().places
    assert game.sight.position == pytest.approx(PITS)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"gone": True}, "The game is not running"),
        ({"frozen": True}, "no new packets"),
        ({"deaf": True}, r"m from where it was put.*nothing has happened after the button __CM_TO_PITS"),
        ({"stuck_in_neutral": True}, "not in a forward gear"),
        ({"human_steers": 0.3}, "somebody touches the controls"),
    ],
)
def test_the_end_is_a_sentence_about_what_was_tried(fault: dict[str, object], said: str) -> None:
    game = csp()
    for name, value in fault.items():
        setattr(game, name, value)

    with pytest.raises(GameDoesNotAnswer, match=r"the game does not answer: .*" + said):
        fresh_start(game)()

    assert game.command == NEUTRAL
    assert game.time < 40.0


@pytest.mark.parametrize(("status", "said"), [(Status.OFF, "a menu"), (Status.REPLAY, "a replay")])
def test_a_game_that_is_not_live_is_never_at_a_start(status: Status, said: str) -> None:
    game = csp()
    game.sight = replace(game.sight, status=status)

    with pytest.raises(GameDoesNotAnswer, match=f"the game shows {said}"):
        fresh_start(game)()


def test_the_road_is_as_high_as_the_line_next_to_it() -> None:
    road = LineElevation(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([5.0, 7.0]))

    assert road(np.array([1.0, 3.0])) == 5.0
    assert road(np.array([8.0, -3.0])) == 7.0


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
    starts = Starts(TRACK, flat, seed=3, rolling=0.0)
    drawn = Starts(TRACK, flat, seed=3, rolling=0.0).draw()
    with GamePages() as pages:
        game = PagesGame(pages)
        start = FreshStart(game, backend, starts)
        start()
        sight = game.look()

    assert start.way == "teleport"
    assert math.dist(sight.position, drawn.position) < 5.0
    assert math.cos(sight.heading - drawn.heading) > 0.99
    backend.close()


def test_the_fake_game_lets_its_car_roll(fake_game: FakeGame) -> None:
    fake_game.live()
    backend = CustomAI()
    backend.open()
    with GamePages() as pages:
        game = PagesGame(pages)
        FreshStart(game, backend, Starts(TRACK, flat, seed=5, rolling=1.0))()
        sight = game.look()
    backend.close()

    assert sight.speed > 3.0
    assert Starts(TRACK, flat).off_track(sight.position) is None


def test_the_fake_game_brings_its_car_to_a_start_by_the_buttons_of_a_joystick(fake_game: FakeGame) -> None:
    fake_game.live()
    fake_game.tell("put", s=300.0, speed=20.0)
    backend = VJoy(lambda: WiredJoystick(fake_game))
    backend.open()
    with GamePages() as pages:
        game = PagesGame(pages)
        start = FreshStart(game, backend, None)
        start()
        sight = game.look()
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
        start = FreshStart(PagesGame(pages), backend, Starts(TRACK, flat, seed=3), limits)

        with pytest.raises(GameDoesNotAnswer, match="a menu"):
            start()
    backend.close()


def test_the_units_of_a_sight_are_those_of_racing(fake_game: FakeGame) -> None:
    fake_game.live()
    fake_game.tell("put", s=100.0, gap=1.0, speed=15.0)
    with GamePages() as pages:
        game = PagesGame(pages)

        def along() -> float:
            return float(TRACK.project(np.array([game.look().position])).s[0])

        wait_until(lambda: 100.0 < along() < 130.0, "the place is that of the track")
        sight = game.look()
    at = TRACK.project(np.array([sight.position]))

    assert 8.0 < sight.speed < 16.0, "rolling out in m/s"
    assert math.cos(sight.heading - at.heading[0]) > 0.95

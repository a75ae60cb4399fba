"""The way to a start, by a game that is scripted to misbehave in simulated time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.controls.controls import NEUTRAL, Backend, Button, Command, Vector
from bridge.assetto_corsa.reading.axes import plane_vector
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.memory import GameNotRunning
from bridge.assetto_corsa.starts.reset import FreshStart, GameDoesNotAnswer, Limits, Sight
from bridge.assetto_corsa.starts.starts import LineElevation, Starts
from racing.track import Track

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
        self.pauses_instead = False
        self.gone = self.frozen = self.deaf = self.grounded = self.turned_round = self.stuck_in_neutral = (
            self.restarts_live
        ) = False
        self.human_steers = 0.0
        self.teleports = 0
        self.places: set[Vector] = set()
        self.misses = 0
        self.below = 0.0
        self.panic_at = math.inf

    # What a reset sees and how time passes.
    def look(self) -> Sight:
        if self.gone:
            raise GameNotRunning("The game is not running.")
        return self.sight

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.panic_at:
            raise NotDriving("The panic key was hit.", Status.LIVE)
        if not self.frozen and self.sight.status is Status.LIVE:
            speed = max(0.0, self.sight.speed + (10.0 * self.command.throttle - 50.0 * self.command.brake) * seconds)
            along = speed * seconds * np.array([math.cos(self.sight.heading), math.sin(self.sight.heading)])
            x, y = np.array(self.sight.position) + along
            self.sight = replace(
                self.sight,
                packet=self.sight.packet + 1,
                position=(x, y),
                speed=speed,
                lap_clock=self.sight.lap_clock + seconds,
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
        self.places.add(position)
        self.misses -= 1
        if not self.deaf and not self.grounded and self.misses < 0 and self.sight.status is Status.LIVE:
            x, y = plane_vector(position.x, position.z)
            heading = math.atan2(direction.x, direction.z) + (math.pi if self.turned_round else 0.0)
            gear = 0 if self.stuck_in_neutral or Button.GEAR_UP in self.buttons else 1
            self.sight = replace(
                self.sight,
                position=(float(x), float(y)),
                elevation=position.y - self.below,
                heading=heading,
                speed=0.0,
                gear=gear,
            )

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
        elif self.pauses_instead:
            paused = button is Button.RESET_SESSION
            self.sight = replace(self.sight, status=Status.PAUSE if paused else Status.LIVE, speed=0.0)
        elif button is Button.RESET_SESSION:
            gear = 0 if self.stuck_in_neutral else 1
            status = Status.LIVE if self.restarts_live else Status.OFF
            self.sight = replace(self.sight, status=status, position=PITS, speed=0.0, gear=gear, lap_clock=0.0)
        elif button is Button.START_SESSION and self.sight.status is Status.OFF:
            self.sight = replace(self.sight, status=Status.LIVE)
        elif button is Button.TO_PITS:
            gear = 0 if self.stuck_in_neutral else 1
            self.sight = replace(self.sight, position=PITS, speed=0.0, gear=gear, in_pits=True)


def flat(_position: object, _heading: float) -> float:
    """The height of the fake game's road, m."""
    return 12.5


def fresh_start(game: Scripted) -> FreshStart:
    starts = Starts(TRACK, flat, seed=1) if game.can_teleport else None
    return FreshStart(game.look, game, starts, now=game.now, sleep=game.sleep)


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
    assert len(game.places) == Limits().places
    assert game.sight.position == pytest.approx(PITS)


def test_a_teleport_that_the_game_has_missed_is_asked_for_again() -> None:
    game = csp()
    game.misses = 3
    start = fresh_start(game)

    start()

    assert start.way == "teleport"
    assert (game.teleports, len(game.places)) == (4, 1)


def test_a_car_on_the_level_below_is_not_where_it_was_put() -> None:
    game = csp()
    game.below = 6.0
    start = fresh_start(game)

    start()

    assert start.way == "pits"


def test_a_car_that_stands_in_its_pit_is_at_a_start() -> None:
    game = csp()
    game.grounded = True
    game.sight = replace(game.sight, position=PITS, speed=0.0, gear=1, lap_clock=0.0, in_pits=True)
    start = fresh_start(game)

    start()

    assert start.way == "pits"


@pytest.mark.parametrize("restarts_live", [True, False])
def test_a_car_that_stands_at_the_start_is_restarted_again_and_again(restarts_live: bool) -> None:
    game = pad()
    game.restarts_live = restarts_live
    start = fresh_start(game)

    for _ in range(3):
        start()
        assert start.way == "restart"


@pytest.mark.parametrize("clock", [0.0, 0.3, 0.6, 0.8, 1.5])
def test_the_first_restart_of_a_session_that_has_just_begun_is_believed(clock: float) -> None:
    """Where the session begins anew the clock has come as far again before the button that dismisses the menu is up."""
    game = pad()
    game.sight = replace(game.sight, position=PITS, speed=0.0, gear=1, lap_clock=clock)
    start = fresh_start(game)

    start()

    assert start.way == "restart"


def test_a_pause_is_not_taken_for_a_restart() -> None:
    game = pad()
    game.pauses_instead = True

    with pytest.raises(GameDoesNotAnswer, match="nothing has happened after the button __CM_RESET_SESSION"):
        fresh_start(game)()


@pytest.mark.parametrize("at", [0.3, 0.98, 1.18])
def test_whatever_ends_a_start_leaves_no_button_held(at: float) -> None:
    game = pad()
    game.buttons |= {Button.GEAR_UP}
    game.stuck_in_neutral = True
    game.restarts_live = True
    game.panic_at = at
    with pytest.raises(NotDriving):
        fresh_start(game)()

    assert game.pressed
    assert not game.held


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

    assert road(np.array([1.0, 3.0]), 0.0) == 5.0
    assert road(np.array([8.0, -3.0]), 0.0) == 7.0


def test_where_the_road_crosses_itself_the_height_is_that_of_the_level_that_is_driven() -> None:
    around = np.linspace(0.0, 2.0 * np.pi, 200, endpoint=False)
    # A figure of eight that crosses itself at the origin, once on the ground and once on a bridge.
    points = 200.0 * np.stack([np.sin(around), np.sin(around) * np.cos(around)], axis=1)
    road = LineElevation(points, np.where(np.cos(around) > 0.0, 0.0, 7.0))

    for x in (-1.0, 0.0, 1.0):
        assert road(np.array([x, x]), np.pi / 4.0) == 0.0
        assert road(np.array([x, -x]), 3.0 * np.pi / 4.0) == 7.0

"""Controls: which way to the game is chosen, what its numbers mean, and what shaping does to them over time."""

import math

import pytest

from bridge.assetto_corsa.controls.controls import (
    NEUTRAL,
    BackendUnavailable,
    Button,
    CannotTeleport,
    Command,
    ControlShaping,
    NoBackend,
    Vector,
    choose_backend,
    in_range,
    why_not,
)


class Told:
    """Controls that work or not, as they were told."""

    can_teleport = False
    buttons: frozenset[Button] = frozenset()

    def __init__(self, name: str, broken: str | None = None) -> None:
        self.name = name
        self.broken = broken
        self.calls: list[str] = []

    def why_not(self) -> str | None:
        return why_not(self)

    def open(self) -> None:
        self.calls.append("open")
        if self.broken is not None:
            raise BackendUnavailable(self.broken)

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        self.calls.append(f"apply {steer} {throttle} {brake}")

    def neutral(self) -> None:
        self.calls.append("neutral")

    def close(self) -> None:
        self.calls.append("close")

    def teleport(self, position: Vector, direction: Vector) -> None:
        raise CannotTeleport(f"nobody puts the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        raise KeyError(button, down)


def test_the_first_controls_that_work_are_opened_and_later_ones_left_alone() -> None:
    broken, good, spare = Told("csp", "switch it on."), Told("gamepad"), Told("vjoy")

    assert choose_backend([broken, good, spare]) is good
    assert (broken.calls, good.calls, spare.calls) == (["open"], ["open"], [])


def test_when_none_works_each_says_why() -> None:
    with pytest.raises(NoBackend, match=r"csp: Switch this on\. vjoy: Install that\."):
        choose_backend([Told("csp", "Switch this on."), Told("vjoy", "Install that.")])


def test_asking_why_not_lets_go_again() -> None:
    good = Told("gamepad")

    assert good.why_not() is None
    assert good.calls == ["open", "close"]
    assert Told("vjoy", "Install it.").why_not() == "Install it."


def test_commands_out_of_range_are_clipped_and_what_is_no_number_is_nothing() -> None:
    assert in_range(-3.0, 7.0, -1.0) == Command(-1.0, 1.0, 0.0)
    assert in_range(math.nan, math.nan, math.nan) == Command(0.0, 0.0, 0.0)
    assert in_range(math.inf, -math.inf, 0.5) == Command(1.0, 0.0, 0.5)


def test_shaping_is_off_unless_asked_for() -> None:
    off = ControlShaping()

    assert not off.on
    assert off.shaped(NEUTRAL, Command(-1.0, 1.0, 0.5), 0.0) == Command(-1.0, 1.0, 0.5)


def test_a_rate_limit_is_reached_in_the_time_it_says_whatever_the_steps() -> None:
    shaping = ControlShaping(steer_rate=2.0, pedal_rate=4.0)
    for steps in (5, 20, 333):
        now = Command(-1.0, 0.0, 1.0)
        for _ in range(steps):
            now = shaping.shaped(now, Command(1.0, 1.0, 0.0), 0.4 / steps)

        assert now == pytest.approx(Command(-0.2, 0.6, 0.0))


def test_smoothing_comes_as_near_as_its_time_constant_says_whatever_the_steps() -> None:
    shaping = ControlShaping(smoothing=0.1)
    for steps in (1, 10, 100):
        now = Command(0.0, 0.0, 0.0)
        for _ in range(steps):
            now = shaping.shaped(now, Command(1.0, 0.5, 0.0), 0.1 / steps)

        assert now == pytest.approx(Command(1.0 - math.exp(-1.0), 0.5 * (1.0 - math.exp(-1.0)), 0.0))


def test_what_shaping_returns_is_an_action_of_the_task() -> None:
    shaping = ControlShaping(pedal_rate=1.0)

    between = shaping.shaped(Command(0.0, 0.3, 0.0), Command(0.0, 0.0, 1.0), 0.5)

    assert between == pytest.approx(Command(0.0, 0.0, 0.2)), "never both pedals: throttle less brake says it all"


@pytest.mark.parametrize(
    "bad", [{"steer_rate": 0.0}, {"pedal_rate": -1.0}, {"smoothing": -0.1}, {"smoothing": math.nan}]
)
def test_limits_that_would_hold_the_controls_still_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ControlShaping(**bad)

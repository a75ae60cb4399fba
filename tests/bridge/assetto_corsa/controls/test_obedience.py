"""A game that stops following is told from one that is late, filtered, or helped by its electronics."""

import numpy as np
import pytest

from bridge.assetto_corsa.controls.controls import Command
from bridge.assetto_corsa.controls.obedience import DISOBEYING_SECONDS, DOUBT_SECONDS, Obedience

PERIOD = 0.05
STEER, THROTTLE, BRAKE = range(3)
NAMES = ("steering", "throttle", "brake")


class Drive:
    """Steps of a drive: `what` is wrong, and since when a doubt was there, once one was."""

    def __init__(self, rate: float = 20.0) -> None:
        self.obedience, self.period = Obedience(), 1.0 / rate
        self.now = 0.0
        self.what: str | None = None

    def step(self, commanded: Command, measured: Command) -> None:
        self.what = self.obedience.update(self.now, commanded, measured)
        self.now += self.period


def noise(seed: int, steps: int) -> list[Command]:
    """What a policy that knows nothing yet asks for: anything, each step."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.0, 1.0, (steps, 2))
    return [Command(float(steer), max(float(pedals), 0.0), max(-float(pedals), 0.0)) for steer, pedals in actions]


def bends(steps: int) -> list[Command]:
    return [Command(float(np.sin(0.1 * k)), 0.5 + 0.5 * float(np.sin(0.07 * k)), 0.0) for k in range(steps)]


@pytest.mark.parametrize("late", [0, 1, 3, 4])
@pytest.mark.parametrize("smooth", [1.0, 0.4])
@pytest.mark.parametrize("rate", [10.0, 20.0, 60.0])
def test_a_game_that_follows_late_and_smoothly_obeys(late: int, smooth: float, rate: float) -> None:
    for commands in (noise(1, 600), bends(600), [Command(0.9, 1.0, 0.0)] * 50 + [Command(-0.9, 0.0, 1.0)] * 50):
        drive, shown = Drive(rate), np.zeros(3)
        for k, command in enumerate(commands):
            shown += smooth * (np.array(commands[max(0, k - late)]) - shown)
            drive.step(command, Command(*shown))
            assert drive.what is None


@pytest.mark.parametrize("control", [STEER, THROTTLE, BRAKE])
@pytest.mark.parametrize("stands", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("rate", [10.0, 20.0, 60.0])
def test_a_control_that_stands_is_found_within_about_a_second_and_doubted_before(
    control: int, stands: float, rate: float
) -> None:
    drive = Drive(rate)
    for command in noise(2, 100):
        drive.step(command, command)
    stood_at, doubted = drive.now, False
    for command in noise(3, 1000):
        measured = list(command)
        measured[control] = stands
        drive.step(command, Command(*measured))
        if drive.what is not None:
            break
        doubted |= drive.obedience.doubtful_since is not None
        assert drive.now - stood_at < DOUBT_SECONDS + 1.0 or doubted

    assert drive.what is not None
    assert NAMES[control] in drive.what
    assert drive.now - stood_at < DISOBEYING_SECONDS + 1.0
    assert drive.obedience.doubtful_since is not None
    assert drive.obedience.doubtful_since - stood_at < 1.0, "from when on it was asked for something else"


def test_a_game_that_is_deaf_after_a_pause_is_found_although_the_same_is_asked_for_all_along() -> None:
    drive = Drive()
    while drive.what is None and drive.now < 5.0:
        drive.step(Command(0.0, 1.0, 0.0), Command(0.0, 0.0, 0.0))

    assert drive.now < DISOBEYING_SECONDS + 0.2
    assert drive.what is not None
    assert "throttle" in drive.what


def test_wheels_that_go_elsewhere_are_found() -> None:
    drive = Drive()
    for k in range(60):
        drive.step(Command(0.1, 0.5, 0.0), Command(float(np.sin(0.3 * k)), 0.5, 0.0))
    assert drive.what is None, "now here, now there: it is not known whose that is"
    for k in range(60):
        drive.step(Command(0.0, 0.5, 0.0), Command(0.6 + 0.1 * float(np.sin(k)), 0.5, 0.0))
    assert drive.what is not None


def test_a_control_that_nobody_asks_to_move_is_not_judged() -> None:
    drive = Drive()
    for command in bends(1000):
        drive.step(Command(command.steer, 0.6, 0.0), Command(command.steer, 0.5, 0.1))
        assert drive.what is None
        assert drive.obedience.doubtful_since is None


def test_traction_control_is_no_disobedience() -> None:
    drive, rng = Drive(), np.random.default_rng(4)
    for _ in range(400):
        drive.step(Command(0.2, 1.0, 0.0), Command(0.2, float(rng.uniform(0.0, 0.6)), 0.0))
        assert drive.what is None


def test_after_a_while_without_driving_it_begins_anew() -> None:
    drive = Drive()
    for _ in range(15):
        drive.step(Command(0.9, 1.0, 0.0), Command(0.0, 0.0, 0.0))
    assert drive.obedience.doubtful_since is not None

    drive.obedience.forget()

    assert drive.obedience.doubtful_since is None
    for _ in range(15):
        drive.step(Command(0.9, 1.0, 0.0), Command(0.0, 0.0, 0.0))
        assert drive.what is None

"""When the policy must not drive: each reason alone, and a human who is told from a filter, a delay and a twitch."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.controls import RELEASED, Command
from bridge.assetto_corsa.controls.safety import (
    PACKET_SECONDS,
    HumanAtTheWheel,
    SafetyGate,
    Tolerance,
    front_watch,
    latch,
    panic_switch,
    settled_front,
)
from tests.support.waiting import wait_until

STRAIGHT = Command(0.0, 0.5, 0.0)
PERIOD = 0.05
TOLERANCE = Tolerance()


class Drive:
    """Steps of a drive, told to somebody who looks for a human."""

    def __init__(self, tolerance: Tolerance | None = TOLERANCE) -> None:
        self.human = HumanAtTheWheel(tolerance)
        self.now = 0.0

    def go(self, seconds: float, commanded: Command, measured: Command, speed: float = 0.0) -> bool:
        """Whether a human was seen at the end of these seconds."""
        seen = False
        for _ in range(round(seconds / PERIOD)):
            seen = self.human.update(self.now, commanded, measured, speed)
            self.now += PERIOD
        return seen


def test_a_game_that_does_what_we_command_is_driven_by_us() -> None:
    drive = Drive()

    assert not drive.go(2.0, STRAIGHT, STRAIGHT)
    assert not drive.go(2.0, Command(0.5, 0.0, 1.0), Command(0.4, 0.0, 0.9))


def test_somebody_who_turns_the_wheel_is_seen_after_the_delay() -> None:
    drive = Drive()
    drive.go(1.0, STRAIGHT, STRAIGHT)

    assert not drive.go(TOLERANCE.delay - PERIOD, STRAIGHT, Command(0.4, 0.5, 0.0))
    assert drive.go(3 * PERIOD, STRAIGHT, Command(0.4, 0.5, 0.0))


def test_somebody_who_brakes_is_seen_and_one_who_only_lifts_is_not() -> None:
    assert Drive().go(1.0, STRAIGHT, Command(0.0, 0.0, 0.6))
    assert not Drive().go(1.0, STRAIGHT, Command(0.0, 0.0, 0.0))
    assert Drive(Tolerance(throttle=0.3)).go(1.0, STRAIGHT, Command(0.0, 0.0, 0.0))


def test_a_twitch_that_is_over_before_the_delay_is_nobody() -> None:
    drive = Drive()
    drive.go(1.0, STRAIGHT, STRAIGHT)
    for _ in range(5):
        assert not drive.go(0.15, STRAIGHT, Command(-0.9, 0.5, 0.0))
        assert not drive.go(0.1, STRAIGHT, STRAIGHT)


def test_a_game_that_follows_late_and_smoothly_is_nobody() -> None:
    drive = Drive()
    shown, waiting = 0.0, [0.0] * 3
    for step in range(400):
        command = Command(0.9 if step // 20 % 2 else -0.9, 0.5, 0.0)
        waiting.append(command.steer)
        shown += (waiting.pop(0) - shown) * 0.7
        assert not drive.go(PERIOD, command, Command(shown, 0.5, 0.0))


def test_the_policy_goes_on_once_nothing_was_touched_for_a_while() -> None:
    drive = Drive()
    assert drive.go(1.0, STRAIGHT, Command(0.8, 0.5, 0.0))

    assert drive.go(TOLERANCE.release - 0.2, RELEASED, RELEASED), "not yet"
    assert drive.go(0.2, RELEASED, Command(0.3, 0.0, 0.0)), "touched again"
    assert not drive.go(TOLERANCE.release + 0.2, RELEASED, RELEASED)


@pytest.mark.parametrize("rate", [10.0, 20.0, 25.0, 60.0])
@pytest.mark.parametrize("change", [0.21, 0.25, 0.9])
def test_our_own_steering_is_nobody(rate: float, change: float) -> None:
    human = HumanAtTheWheel(TOLERANCE)
    steer = -1.0
    for step in range(200):
        # To one side in steps, over and over: a ramp that a step of the policy makes and the game follows at once.
        steer = -1.0 if steer >= 1.0 else min(1.0, steer + change)
        command = Command(steer, 0.5, 0.0)
        assert not human.update(step / rate, command, command, 30.0)
        assert human.doubtful_since is None


@pytest.mark.parametrize("rate", [10.0, 20.0, 25.0, 60.0])
def test_weaving_and_stabbing_at_the_brake_is_nobody(rate: float) -> None:
    human = HumanAtTheWheel(TOLERANCE)
    for step in range(300):
        now = step / rate
        command = Command(math.sin(4.0 * now), 0.0, abs(math.sin(3.0 * now)))
        assert not human.update(now, command, command, 30.0)


def test_somebody_who_holds_the_wheel_still_in_a_bend_is_seen_whatever_was_steered_before() -> None:
    drive = Drive()
    drive.go(2.0, Command(0.5, 0.5, 0.0), Command(0.5, 0.5, 0.0))

    assert drive.go(1.0, STRAIGHT, Command(0.5, 0.5, 0.0))


def test_suspicion_begins_with_the_first_strange_step_and_ends_with_the_twitch() -> None:
    drive = Drive()
    drive.go(1.0, STRAIGHT, STRAIGHT)
    assert drive.human.doubtful_since is None
    assert not drive.go(PERIOD, STRAIGHT, Command(0.4, 0.5, 0.0))
    assert drive.human.doubtful_since is not None
    drive.go(PERIOD, STRAIGHT, STRAIGHT)
    assert drive.human.doubtful_since is None


def test_somebody_who_only_accelerates_keeps_the_car() -> None:
    drive = Drive()
    assert drive.go(1.0, STRAIGHT, Command(0.8, 0.5, 0.0), 20.0)

    assert drive.go(10.0, RELEASED, Command(0.02, 1.0, 0.0), 60.0), "straight on, flat out"


def test_a_car_that_moves_is_taken_back_later_than_one_that_stands() -> None:
    drive = Drive()
    assert drive.go(1.0, STRAIGHT, Command(0.8, 0.5, 0.0), 20.0)

    assert drive.go(TOLERANCE.release_moving - 0.2, RELEASED, RELEASED, 20.0), "between two pedals"
    assert drive.go(1.0, RELEASED, Command(0.0, 0.0, 0.3), 10.0), "the other one"
    assert drive.go(TOLERANCE.release_moving - 0.2, RELEASED, RELEASED, 5.0)
    assert not drive.go(0.4, RELEASED, RELEASED, 0.5), "left alone, and it stands"


def test_nobody_is_seen_where_nobody_is_looked_for() -> None:
    assert not Drive(None).go(5.0, STRAIGHT, Command(1.0, 0.0, 1.0))


class Watched:
    """A gate with a panic key and a window that the test has in hand."""

    def __init__(self, need_window: bool = True) -> None:
        self.panic, self.window = False, True
        self.gate = SafetyGate(lambda: self.panic, lambda: self.window, need_window, Tolerance())
        self.now, self.packet = 0.0, 0

    def reason(self, live: bool = True, packets: int = 1, measured: Command = STRAIGHT) -> str | None:
        self.now += PERIOD
        self.packet += packets
        return self.gate.reason(self.now, live, self.packet, STRAIGHT, measured, 20.0)


def test_a_live_game_in_front_is_driven() -> None:
    watched = Watched()

    assert [watched.reason() for _ in range(50)] == [None] * 50


def test_each_reason_stops_and_lets_go_again() -> None:
    watched = Watched()
    assert "pause" in (watched.reason(live=False) or "")
    watched.window = False
    assert "window" in (watched.reason() or "")
    watched.window = True
    assert watched.reason() is None


def test_a_game_that_hangs_is_not_driven() -> None:
    watched = Watched()
    watched.reason()
    reasons = [watched.reason(packets=0) for _ in range(round(PACKET_SECONDS / PERIOD) + 2)]

    assert reasons[0] is None
    assert "no new packets" in (reasons[-1] or "")


def test_a_lost_window_matters_only_where_it_was_asked_for() -> None:
    watched = Watched(need_window=False)
    watched.window = False

    assert watched.reason() is None


def test_panic_goes_before_a_human_at_the_wheel() -> None:
    watched = Watched()
    for _ in range(20):
        watched.reason(measured=Command(0.9, 0.5, 0.0))
    assert watched.gate.human_drives
    watched.panic = True

    assert "panic" in (watched.reason() or "")
    assert not watched.gate.human_drives


def test_a_key_that_was_down_for_a_moment_was_hit_for_good_though_nobody_asked_meanwhile() -> None:
    looks = iter([False, False, True])
    panicked = latch(lambda: next(looks, False))

    wait_until(panicked, "the hit is seen")
    assert panicked()


def test_no_window_in_front_for_long_is_a_locked_screen() -> None:
    answers: list[bool | None] = [True, None, None, None, True, None]
    times = iter([0.0, 0.0, 0.4, 0.8, 2.0, 2.0])
    found = settled_front(lambda: answers.pop(0), lambda: next(times))

    assert [found() for _ in range(6)] == [True, None, None, False, True, None]


def test_after_a_reset_the_commands_before_it_excuse_nothing() -> None:
    watched = Watched()
    watched.gate.reason(0.0, True, 1, Command(0.9, 0.5, 0.0), Command(0.9, 0.5, 0.0), 20.0)
    watched.gate.forget()
    watched.gate.reason(0.1, True, 2, STRAIGHT, Command(0.9, 0.5, 0.0), 20.0)

    assert watched.gate.doubtful_since is not None


def test_a_human_is_let_drive_and_not_braked() -> None:
    watched = Watched()
    for _ in range(20):
        reason = watched.reason(measured=Command(0.9, 0.5, 0.0))

    assert "somebody steers" in (reason or "")
    assert watched.gate.human_drives


def test_what_was_shown_in_a_pause_is_not_held_against_anybody() -> None:
    watched = Watched()
    watched.reason()
    for _ in range(20):
        watched.reason(live=False, measured=Command(0.9, 0.0, 1.0))

    assert watched.reason() is None


@pytest.fixture
def former_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("former_handler")
def test_a_signal_is_the_panic_key_of_linux() -> None:
    panicked = panic_switch()
    assert not panicked()

    os.kill(os.getpid(), signal.SIGUSR1)

    wait_until(panicked, "the signal arrives")
    with pytest.raises(KeyError):
        panic_switch("escape")


def test_which_window_is_in_front_is_not_known_here_and_stops_nobody() -> None:
    gate = SafetyGate(lambda: False, front_watch())

    assert gate.reason(0.0, True, 1, STRAIGHT, STRAIGHT, 20.0) is None


@pytest.mark.slow
def test_the_windows_side_passes_the_type_checker() -> None:
    root = Path(__file__).resolve().parents[4]
    files = [f"bridge/assetto_corsa/{folder}" for folder in ("controls", "starts", "reading")]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--platform", "win32", *files],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout

"""What the doctor says of the controls, against a fake game that is steered, or not, through CSP and a virtual pad."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.assetto_corsa.controls.controls import Backend
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.device_lock import InUse, take
from bridge.assetto_corsa.controls.gamepad import Gamepad
from bridge.doctor import steering
from bridge.doctor.messages import Message
from bridge.doctor.steering import control_findings
from bridge.doctor.watching import Watched, watch
from tests.fake_ac.inputs import VirtualDevice
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until


class WiredPad:
    """A pad whose stick reaches the game's joystick through a wire that may be loose, crossed or thin: `gain`."""

    def __init__(self, device: VirtualDevice, gain: float) -> None:
        self._device, self._gain = device, gain
        self._steer = self._brake = 0.0

    def left_joystick_float(self, x_value_float: float, y_value_float: float) -> None:
        assert y_value_float == 0.0
        self._steer = x_value_float

    def left_trigger_float(self, value_float: float) -> None:
        self._brake = value_float

    def right_trigger_float(self, value_float: float) -> None:
        assert value_float == 0.0, "the doctor gives no throttle"

    def press_button(self, button: int) -> None:
        raise AssertionError(button)

    def release_button(self, button: int) -> None:
        raise AssertionError(button)

    def reset(self) -> None:
        self._steer = self._brake = 0.0

    def update(self) -> None:
        self._device.show(steer=self._gain * self._steer, brake=self._brake)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(steering, "TURN_SECONDS", 0.4)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGame]:
    with FakeGame(tmp_path_factory.mktemp("game")) as running:
        yield running


@pytest.fixture
def game(running: FakeGame, monkeypatch: pytest.MonkeyPatch) -> FakeGame:
    """A new session of the running game, whose car stands on the grid."""
    monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
    running.device().unplug()
    running.tell("custom_ai", allowed=True)
    running.tell("restart", into="live")
    running.live()
    return running


def seen() -> Watched:
    return watch(0.2, lambda: False)


def told(watched: Watched, backend: Backend, move: bool = False) -> list[Message]:
    return [finding.message for finding in control_findings(watched, [backend], move)]


def pad(game: FakeGame, gain: float = 1.0) -> Gamepad:
    return Gamepad(make=lambda: WiredPad(game.device(), gain))


def test_custom_ai_answers_and_steers_a_car_that_stays_where_it_is(game: FakeGame) -> None:
    before = game.truth()["position"]
    assert told(seen(), CustomAI()) == [Message.BACKEND, Message.STEER_UNASKED]
    assert told(seen(), CustomAI(), move=True) == [Message.BACKEND, Message.STEERS]
    assert game.truth()["position"] == pytest.approx(before, abs=0.05)


def test_what_does_not_answer_says_why_and_without_another_nobody_can_drive(game: FakeGame) -> None:
    game.tell("custom_ai", allowed=False)
    first, second, last = control_findings(seen(), [CustomAI(answer_seconds=0.2)], move=True)
    assert first.message is Message.BACKEND_NOT
    assert "new_behaviour.ini" in first.says
    assert second.message is Message.NO_BACKEND
    assert last.message is Message.STEER_NOT_NOW


def test_a_car_that_somebody_drives_is_left_alone(game: FakeGame) -> None:
    game.tell("put", s=100.0, speed=20.0)
    wait_until(lambda: game.physics("speedKmh") > 30.0, "the car to move")
    assert told(seen(), CustomAI(), move=True) == [Message.CONTROLS_MOVING, Message.STEER_NOT_NOW]
    assert not game.truth()["custom_ai"]


@pytest.mark.usefixtures("game")
def test_a_bridge_that_drives_through_csp_keeps_the_controls() -> None:
    bridge = CustomAI()
    bridge.open()
    assert told(seen(), CustomAI()) == [Message.CONTROLS_TAKEN, Message.STEER_UNASKED]
    assert bridge.ours
    bridge.close()
    assert told(seen(), CustomAI())[0] is Message.BACKEND


def test_no_second_pad_is_plugged_in_beside_the_one_of_a_bridge(game: FakeGame) -> None:
    def plugged_in() -> WiredPad:
        raise AssertionError("a second pad")

    backends: list[Backend] = [CustomAI(), Gamepad(make=plugged_in)]
    with closing(take("gamepad", 0.0)):
        first, last = control_findings(seen(), backends, move=True)
    assert (first.message, last.message) == (Message.CONTROLS_IN_USE, Message.STEER_NOT_NOW)
    assert "gamepad" in first.says
    assert not game.truth()["custom_ai"]


def test_no_bridge_gets_the_pad_while_it_is_tried(game: FakeGame) -> None:
    def plugged_in() -> WiredPad:
        with pytest.raises(InUse):
            take("gamepad", 0.0)
        return WiredPad(game.device(), 1.0)

    assert told(seen(), Gamepad(make=plugged_in), move=True) == [Message.BACKEND, Message.STEERS]
    take("gamepad", 0.0).close()


def test_a_lock_that_cannot_be_used_is_the_reason_why_a_pad_does_not_answer(
    game: FakeGame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    first, second, _ = control_findings(seen(), [pad(game)], move=False)
    assert (first.message, second.message) == (Message.BACKEND_NOT, Message.NO_BACKEND)
    assert "cannot be used: unable to open" in first.says


def test_custom_ai_can_only_be_tried_in_a_live_game(game: FakeGame) -> None:
    game.tell("mode", mode="menu")
    wait_until(lambda: not seen().live, "the menu")
    assert told(seen(), CustomAI(), move=True) == [Message.CONTROLS_NO_GAME, Message.STEER_NOT_NOW]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gain", "message"),
    [
        (1.0, Message.STEERS),
        (0.5, Message.STEER_FILTERED),
        (0.0, Message.STEER_IGNORED),
        (-1.0, Message.STEER_REVERSED),
        (2.0, Message.STEER_SCALE),
    ],
)
def test_a_pad_that_the_game_follows_badly_is_told_by_how_badly(game: FakeGame, gain: float, message: Message) -> None:
    assert told(seen(), pad(game, gain), move=True) == [Message.BACKEND, message]


def test_a_car_that_rolls_and_a_game_that_is_left_end_the_trial(game: FakeGame) -> None:
    standing = seen()
    assert standing.live
    game.tell("put", s=100.0, speed=30.0)
    wait_until(lambda: game.physics("speedKmh") > 50.0, "the car to move")
    assert told(replace(standing, speed=0.0), pad(game), move=True)[-1] is Message.STEER_ROLLED
    game.tell("mode", mode="pause")
    wait_until(lambda: not seen().live, "the pause")
    assert told(standing, pad(game), move=True)[-1] is Message.STEER_LOST

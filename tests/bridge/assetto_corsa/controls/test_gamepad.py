"""The gamepad backend, on a stand-in with the interface and the rounding of vgamepad's VX360Gamepad."""

import sys
from collections.abc import Callable

import pytest

from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button, CannotTeleport, Vector
from bridge.assetto_corsa.controls.gamepad import Gamepad, plug_in

REST = (0, 0, 0, 0)


class StandInPad:
    """Keeps the reports that a driver would get: buttons, left trigger, right trigger, left stick's x."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int, int]] = []
        self.closed = self.lost = False
        self.reset()

    def left_joystick_float(self, x_value_float: float, y_value_float: float) -> None:
        assert y_value_float == 0.0
        self.x = round(x_value_float * 32767)

    def left_trigger_float(self, value_float: float) -> None:
        self.left = round(value_float * 255)

    def right_trigger_float(self, value_float: float) -> None:
        self.right = round(value_float * 255)

    def press_button(self, button: int) -> None:
        self.buttons |= button

    def release_button(self, button: int) -> None:
        self.buttons &= ~button

    def reset(self) -> None:
        self.buttons = self.left = self.right = self.x = 0

    def update(self) -> None:
        if self.lost:
            raise Exception("VIGEM_ERROR_BUS_NOT_FOUND")
        self.sent.append((self.buttons, self.left, self.right, self.x))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pad() -> StandInPad:
    return StandInPad()


@pytest.fixture
def backend(pad: StandInPad) -> Gamepad:
    backend = Gamepad(lambda: pad)
    backend.open()
    return backend


def test_a_pad_is_plugged_in_neutral(pad: StandInPad, backend: Gamepad) -> None:
    assert pad.sent == [(0, round(0.3 * 255), 0, 0)]
    assert backend.why_not() is None
    assert not pad.closed


@pytest.mark.parametrize(
    ("command", "report"),
    [
        ((1.0, 1.0, 0.0), (0, 0, 255, -32767)),
        ((-1.0, 0.0, 1.0), (0, 255, 0, 32767)),
        ((0.5, 0.25, 0.0), (0, 0, 64, -16384)),
        ((float("nan"), 5.0, -5.0), (0, 0, 255, 0)),
    ],
)
def test_left_is_left_the_right_trigger_is_the_throttle_and_the_left_one_the_brake(
    pad: StandInPad, backend: Gamepad, command: tuple[float, float, float], report: tuple[int, int, int, int]
) -> None:
    backend.apply(*command)

    assert pad.sent[-1] == report


def test_buttons_are_held_until_released(pad: StandInPad, backend: Gamepad) -> None:
    backend.press(Button.RESET_SESSION, True)
    backend.press(Button.START_SESSION, True)
    backend.press(Button.RESET_SESSION, False)

    assert [report[0] for report in pad.sent[1:]] == [0x20, 0x30, 0x10]


def test_the_pad_is_at_rest_before_it_goes(pad: StandInPad, backend: Gamepad) -> None:
    backend.apply(1.0, 1.0, 0.0)
    backend.press(Button.TO_PITS, True)
    backend.close()
    backend.close()
    backend.apply(1.0, 1.0, 0.0)

    assert pad.sent[-1] == REST
    assert pad.closed


def test_a_driver_that_goes_is_said_and_the_pad_is_let_go_of(pad: StandInPad, backend: Gamepad) -> None:
    pad.lost = True

    asks: list[Callable[[], None]] = [
        lambda: backend.apply(0.0, 1.0, 0.0),
        backend.neutral,
        lambda: backend.press(Button.TO_PITS, True),
    ]
    for ask in asks:
        with pytest.raises(BackendUnavailable, match=r"takes nothing any more \(Exception: VIGEM_ERROR_BUS_NOT_FOUND"):
            ask()
    backend.close()
    assert pad.closed
    pad.closed = False
    assert "takes nothing any more" in str(Gamepad(lambda: pad).why_not())
    assert pad.closed


def test_a_pad_cannot_teleport(backend: Gamepad) -> None:
    assert not backend.can_teleport
    with pytest.raises(CannotTeleport, match="gamepad"):
        backend.teleport(Vector(0.0, 0.0, 0.0), Vector(0.0, 0.0, 1.0))


def test_without_vgamepad_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vgamepad", None)

    reason = Gamepad().why_not()

    assert reason is not None
    assert "pip install vgamepad" in reason
    assert "ViGEmBus" in reason


def test_a_driver_that_does_not_answer_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoBus:
        @staticmethod
        def VX360Gamepad() -> None:
            raise RuntimeError("VIGEM_ERROR_BUS_NOT_FOUND")

    monkeypatch.setitem(sys.modules, "vgamepad", NoBus)

    with pytest.raises(BackendUnavailable, match=r"VIGEM_ERROR_BUS_NOT_FOUND.*install ViGEmBus"):
        plug_in()

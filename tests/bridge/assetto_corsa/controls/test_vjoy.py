"""The vJoy backend, on a stand-in with the interface of pyvjoy's VJoyDevice."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button, CannotTeleport, Vector
from bridge.assetto_corsa.controls.vjoy import VJoy, acquire


class StandInJoystick:
    """Keeps the positions that the driver would get: X, Y, Z, RZ, buttons."""

    def __init__(self) -> None:
        self.data: Any = SimpleNamespace(wAxisX=0, wAxisY=0, wAxisZ=0, wAxisZRot=0, lButtons=0x40)
        self.sent: list[tuple[int, int, int, int, int]] = []
        self.taken = 1

    def update(self) -> object:
        data = self.data
        self.sent.append((data.wAxisX, data.wAxisY, data.wAxisZ, data.wAxisZRot, data.lButtons))
        return self.taken


@pytest.fixture
def joystick() -> StandInJoystick:
    return StandInJoystick()


@pytest.fixture
def backend(joystick: StandInJoystick) -> VJoy:
    backend = VJoy(lambda: joystick)
    backend.open()
    return backend


def test_a_joystick_is_acquired_neutral_with_no_button_pressed(joystick: StandInJoystick, backend: VJoy) -> None:
    assert joystick.sent == [(0x4000, 0x1, 1 + round(0.3 * 0x7FFF), 0x1, 0)]
    assert backend.why_not() is None


@pytest.mark.parametrize(
    ("command", "axes"),
    [
        ((1.0, 0.0, 0.0), (0x1, 0x1, 0x1)),
        ((-1.0, 1.0, 1.0), (0x8000, 0x8000, 0x8000)),
        ((0.0, 0.5, float("nan")), (0x4000, 0x4000, 0x1)),
    ],
)
def test_axes_reach_from_end_to_end_with_left_at_the_low_one(
    joystick: StandInJoystick, backend: VJoy, command: tuple[float, float, float], axes: tuple[int, int, int]
) -> None:
    backend.apply(*command)

    assert joystick.sent[-1] == pytest.approx((*axes, 0x1, 0), abs=1)


def test_seven_restarts_and_nine_starts(joystick: StandInJoystick, backend: VJoy) -> None:
    backend.press(Button.RESET_SESSION, True)
    backend.press(Button.RESET_SESSION, False)
    backend.press(Button.START_SESSION, True)

    assert [position[-1] for position in joystick.sent[1:]] == [1 << 6, 0, 1 << 8]


def test_a_closed_joystick_is_left_neutral_because_vjoy_keeps_it_so(joystick: StandInJoystick, backend: VJoy) -> None:
    backend.apply(1.0, 1.0, 0.0)
    backend.press(Button.TO_PITS, True)
    backend.close()
    backend.close()
    backend.apply(1.0, 1.0, 0.0)

    assert joystick.sent[-1] == (0x4000, 0x1, 1 + round(0.3 * 0x7FFF), 0x1, 0)


def test_a_driver_that_takes_nothing_any_more_is_said(joystick: StandInJoystick, backend: VJoy) -> None:
    joystick.taken = 0

    asks: list[Callable[[], None]] = [
        lambda: backend.apply(0.0, 1.0, 0.0),
        backend.neutral,
        lambda: backend.press(Button.TO_PITS, True),
    ]
    for ask in asks:
        with pytest.raises(BackendUnavailable, match="does not take positions any more"):
            ask()
    backend.close()
    assert VJoy(lambda: joystick).why_not() is not None


def test_vjoy_cannot_teleport(backend: VJoy) -> None:
    assert not backend.can_teleport
    with pytest.raises(CannotTeleport, match="vjoy"):
        backend.teleport(Vector(0.0, 0.0, 0.0), Vector(0.0, 0.0, 1.0))


def test_without_pyvjoy_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvjoy", None)

    reason = VJoy().why_not()

    assert reason is not None
    assert "pip install pyvjoy" in reason


def test_a_device_that_is_taken_or_missing_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class vJoyFailedToAcquireException(Exception):
        pass

    def refuse(number: int) -> None:
        raise vJoyFailedToAcquireException(number)

    monkeypatch.setitem(sys.modules, "pyvjoy", SimpleNamespace(VJoyDevice=refuse))

    with pytest.raises(BackendUnavailable, match=r"device 2 .*vJoyFailedToAcquireException.*Configure vJoy"):
        acquire(2)


def test_a_library_that_cannot_be_loaded_does_not_end_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(name: str) -> None:
        sys.exit(f"Unable to load {name}")

    monkeypatch.setattr("bridge.assetto_corsa.controls.vjoy.importlib.import_module", leave)

    with pytest.raises(BackendUnavailable, match="Unable to load pyvjoy"):
        acquire()

"""Controls through vJoy, a virtual joystick for Windows (the package pyvjoy).

Promises the axes X steering (+ right), Y throttle, Z brake and RZ clutch over vJoy's whole range, the buttons of
BUTTONS, that all of it changes at once or BackendUnavailable says that the driver does not take it any more, and that
pyvjoy is imported only when the joystick is opened. vJoy keeps the last position when its feeder dies, so somebody must
take the joystick over then. It cannot teleport.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from bridge.assetto_corsa.controls import controls
from bridge.assetto_corsa.controls.controls import (
    NEUTRAL,
    BackendUnavailable,
    Button,
    CannotTeleport,
    Vector,
    in_range,
)

LOWEST, HIGHEST = 0x1, 0x8000
"""Ends of every axis (vJoy's default)."""
BUTTONS: Mapping[Button, int] = {
    Button.GEAR_UP: 1,
    Button.RESET_SESSION: 7,
    Button.TO_PITS: 8,
    Button.START_SESSION: 9,
}
"""vJoy's button numbers, to be bound to these functions in the game; 7 and 9 are those of published set-ups."""


class Position(Protocol):
    """What is used of vJoy's JOYSTICK_POSITION_V2."""

    wAxisX: int
    wAxisY: int
    wAxisZ: int
    wAxisZRot: int
    lButtons: int


class Joystick(Protocol):
    """What is used of pyvjoy.VJoyDevice (its source, version 1.0.1)."""

    data: Position

    def update(self) -> object:
        """Send `data` to the driver; something false where the driver did not take it."""


def acquire(number: int = 1) -> Joystick:
    """The vJoy device of this number; raises BackendUnavailable."""
    try:
        pyvjoy = importlib.import_module("pyvjoy")
    except ImportError as error:
        raise BackendUnavailable(
            f"the package pyvjoy cannot be imported ({error}). Install it: pip install pyvjoy, and the driver vJoy."
        ) from error
    except SystemExit as error:
        # It leaves the interpreter when its library cannot be loaded; `code` says why.
        raise BackendUnavailable(
            f"pyvjoy cannot load vJoy's library ({error.code}). vJoy is for Windows only; install vJoy there."
        ) from error
    try:
        return cast(Joystick, pyvjoy.VJoyDevice(number))
    except Exception as error:
        raise BackendUnavailable(
            f"vJoy's device {number} cannot be used ({type(error).__name__}). Install vJoy, enable device {number} "
            "with the axes X, Y, Z, Rz and 9 buttons in 'Configure vJoy', and close other programs that feed it."
        ) from error


class VJoy:
    """A vJoy device as a backend.

    Args:
        make: acquires the device; raises BackendUnavailable where that fails.
    """

    name = "vjoy"
    can_teleport = False
    buttons = frozenset(BUTTONS)

    def __init__(self, make: Callable[[], Joystick] = acquire) -> None:
        self._make = make
        self._joystick: Joystick | None = None

    def why_not(self) -> str | None:
        """Why the joystick cannot be used; None when it can."""
        return None if self._joystick is not None else controls.why_not(self)

    def open(self) -> None:
        """Acquire the joystick, neutral, no button pressed; raises BackendUnavailable."""
        if self._joystick is None:
            self._joystick = self._make()
            self._joystick.data.lButtons = 0
            self._joystick.data.wAxisZRot = LOWEST
            try:
                self.neutral()
            except BackendUnavailable:
                self._joystick = None
                raise

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; does nothing on closed controls. Raises BackendUnavailable."""
        if self._joystick is not None:
            command = in_range(steer, throttle, brake)
            data = self._joystick.data
            data.wAxisX = _axis((1.0 - command.steer) / 2.0)
            data.wAxisY = _axis(command.throttle)
            data.wAxisZ = _axis(command.brake)
            _send(self._joystick)

    def neutral(self) -> None:
        """Roll out under a gentle brake; does nothing on closed controls. Raises BackendUnavailable."""
        self.apply(*NEUTRAL)

    def close(self) -> None:
        """Leave the joystick neutral, no button pressed, and let go of it; safe to call twice."""
        joystick, self._joystick = self._joystick, None
        if joystick is not None:
            joystick.data.lButtons = 0
            joystick.data.wAxisX = _axis(0.5)
            joystick.data.wAxisY = LOWEST
            joystick.data.wAxisZ = _axis(NEUTRAL.brake)
            # It is given back when the last reference to it goes, which is here.
            joystick.update()

    def teleport(self, position: Vector, direction: Vector) -> None:
        """A joystick has no such button; raises CannotTeleport."""
        raise CannotTeleport(f"vJoy cannot put the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button; does nothing on closed controls. Raises BackendUnavailable."""
        bit = 1 << (BUTTONS[button] - 1)
        if self._joystick is not None:
            data = self._joystick.data
            data.lButtons = data.lButtons | bit if down else data.lButtons & ~bit
            _send(self._joystick)


def _send(joystick: Joystick) -> None:
    if not joystick.update():
        raise BackendUnavailable(
            "vJoy's driver does not take positions any more, so the car does what it was told last. Look whether the "
            "device is still enabled in 'Configure vJoy', then start the bridge again."
        )


def _axis(share: float) -> int:
    """An axis at this share, 0 to 1, of its range."""
    return LOWEST + int(share * (HIGHEST - LOWEST))

"""Controls through vJoy, a virtual joystick for Windows (the package pyvjoy).

Promises the axes X steering (+ right), Y throttle, Z brake and RZ clutch over vJoy's whole range, the buttons of
`VJoy.bindings`, that all of it changes at once or BackendUnavailable says that the driver does not take it any more,
and that pyvjoy is imported only when the joystick is opened. vJoy keeps the last position when its feeder dies, so
somebody must take the joystick over then.
"""

import importlib
from collections.abc import Callable
from typing import ClassVar, Protocol, cast

from bridge.assetto_corsa.controls.controls import NEUTRAL, BackendUnavailable, Button, Command, Device

LOWEST, HIGHEST = 0x1, 0x8000
"""Ends of every axis (vJoy's default)."""


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


class VJoy(Device[Joystick]):
    """A vJoy device as a backend."""

    name = "vjoy"
    # 7 and 9 are those of published set-ups.
    bindings: ClassVar = {Button.GEAR_UP: 1, Button.RESET_SESSION: 7, Button.TO_PITS: 8, Button.START_SESSION: 9}

    def __init__(self, make: Callable[[], Joystick] = acquire) -> None:
        super().__init__(make)

    def _rest(self, driver: Joystick) -> None:
        driver.data.lButtons = 0
        driver.data.wAxisZRot = LOWEST
        _move(driver.data, NEUTRAL)

    def _hold(self, driver: Joystick, command: Command) -> None:
        _move(driver.data, command)
        _send(driver)

    def _press(self, driver: Joystick, number: int, down: bool) -> None:
        bit = 1 << (number - 1)
        driver.data.lButtons = driver.data.lButtons | bit if down else driver.data.lButtons & ~bit
        _send(driver)

    def _unplug(self, driver: Joystick) -> None:
        self._rest(driver)
        # It is given back when the last reference to it goes, which is soon.
        driver.update()


def _move(data: Position, command: Command) -> None:
    data.wAxisX = _axis((1.0 - command.steer) / 2.0)
    data.wAxisY = _axis(command.throttle)
    data.wAxisZ = _axis(command.brake)


def _send(joystick: Joystick) -> None:
    if not joystick.update():
        raise BackendUnavailable(
            "vJoy's driver does not take positions any more, so the car does what it was told last. Look whether the "
            "device is still enabled in 'Configure vJoy', then start the bridge again."
        )


def _axis(share: float) -> int:
    """An axis at this share, 0 to 1, of its range."""
    return LOWEST + int(share * (HIGHEST - LOWEST))

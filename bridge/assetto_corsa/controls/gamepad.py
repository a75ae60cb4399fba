"""Controls through a virtual Xbox 360 pad (the package vgamepad: ViGEmBus on Windows, uinput on Linux).

Promises steering on the left stick's x, throttle on the right trigger and brake on the left one, and the buttons of
`Gamepad.bindings`; that vgamepad is imported only when a pad is opened; and that the pad is at rest before it goes. In
its gamepad mode the game filters the stick by itself, which the doctor tells how to switch off.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, Protocol, cast

from bridge.assetto_corsa.controls.controls import BackendUnavailable, Button, Command, Device


class Pad(Protocol):
    """What is used of vgamepad.VX360Gamepad (its source, version 0.1)."""

    def left_joystick_float(self, x_value_float: float, y_value_float: float) -> None:
        """Stick, -1 to 1, x to the right."""

    def left_trigger_float(self, value_float: float) -> None:
        """Trigger, 0 to 1."""

    def right_trigger_float(self, value_float: float) -> None:
        """Trigger, 0 to 1."""

    def press_button(self, button: int) -> None:
        """Press a button of XUSB_BUTTON."""

    def release_button(self, button: int) -> None:
        """Release it."""

    def reset(self) -> None:
        """Everything at rest."""

    def update(self) -> None:
        """Send what was set to the driver."""


def plug_in() -> Pad:
    """A new virtual pad; raises BackendUnavailable."""
    try:
        vgamepad = importlib.import_module("vgamepad")
    except ImportError as error:
        raise BackendUnavailable(
            f"the package vgamepad cannot be imported ({error}). Install it: pip install vgamepad; on Windows its "
            "set-up offers the driver ViGEmBus, which must be accepted."
        ) from error
    except Exception as error:
        # On Windows it connects to the driver while it is imported, and raises a bare Exception when that fails.
        raise _no_driver(error) from error
    try:
        return cast(Pad, vgamepad.VX360Gamepad())
    except Exception as error:
        raise _no_driver(error) from error


class Gamepad(Device[Pad]):
    """A virtual Xbox 360 pad as a backend."""

    name = "gamepad"
    # XUSB_GAMEPAD_BACK, _START, _LEFT_SHOULDER and _A.
    bindings: ClassVar = {
        Button.RESET_SESSION: 0x0020,
        Button.START_SESSION: 0x0010,
        Button.TO_PITS: 0x0100,
        Button.GEAR_UP: 0x1000,
    }

    def __init__(self, make: Callable[[], Pad] = plug_in) -> None:
        super().__init__(make)

    def _rest(self, driver: Pad) -> None:
        driver.reset()

    def _hold(self, driver: Pad, command: Command) -> None:
        with _telling():
            driver.left_joystick_float(0.0 - command.steer, 0.0)
            driver.right_trigger_float(command.throttle)
            driver.left_trigger_float(command.brake)
            driver.update()

    def _press(self, driver: Pad, number: int, down: bool) -> None:
        with _telling():
            (driver.press_button if down else driver.release_button)(number)
            driver.update()

    def _unplug(self, driver: Pad) -> None:
        # A pad whose driver is gone is gone as well.
        with suppress(Exception):
            driver.reset()
            driver.update()
        # Versions up to 0.1.0 unplug when the object goes, later ones have close() for it.
        with suppress(Exception):
            getattr(driver, "close", lambda: None)()


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # vgamepad raises a bare Exception with the driver's code on Windows, and OSErrors of uinput on Linux.
        raise BackendUnavailable(
            f"the driver of the virtual pad takes nothing any more ({type(error).__name__}: {error}), so the game has "
            "lost the pad or keeps what it was told last. Look whether the driver is still there (ViGEmBus on Windows, "
            "uinput on Linux), then start this again."
        ) from error


def _no_driver(error: Exception) -> BackendUnavailable:
    return BackendUnavailable(
        f"vgamepad finds no driver to plug a pad into ({type(error).__name__}: {error}). On Windows install ViGEmBus "
        "(github.com/nefarius/ViGEmBus/releases) and restart; on Linux load the module uinput and allow this user to "
        "write /dev/uinput."
    )

"""Controls through a virtual Xbox 360 pad (the package vgamepad: ViGEmBus on Windows, uinput on Linux).

Promises steering on the left stick's x, throttle on the right trigger and brake on the left one, and the buttons of
BUTTONS; that vgamepad is imported only when a pad is opened; and that the pad is at rest before it goes. In its gamepad
mode the game filters the stick by itself, which the doctor tells how to switch off. It cannot teleport.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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

BUTTONS: Mapping[Button, int] = {
    Button.RESET_SESSION: 0x0020,
    Button.START_SESSION: 0x0010,
    Button.TO_PITS: 0x0100,
    Button.GEAR_UP: 0x1000,
}
"""XUSB_GAMEPAD_BACK, _START, _LEFT_SHOULDER and _A, to be bound to these functions in the game."""


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


class Gamepad:
    """A virtual Xbox 360 pad as a backend.

    Args:
        make: makes the pad; raises BackendUnavailable where none can be made.
    """

    name = "gamepad"
    can_teleport = False
    buttons = frozenset(BUTTONS)

    def __init__(self, make: Callable[[], Pad] = plug_in) -> None:
        self._make = make
        self._pad: Pad | None = None

    def why_not(self) -> str | None:
        """Why no pad can be plugged in; None when one can."""
        return None if self._pad is not None else controls.why_not(self)

    def open(self) -> None:
        """Plug the pad in, neutral; raises BackendUnavailable."""
        if self._pad is None:
            self._pad = self._make()
            try:
                self.neutral()
            except BackendUnavailable:
                self.close()
                raise

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; does nothing on closed controls. Raises BackendUnavailable."""
        if self._pad is not None:
            command = in_range(steer, throttle, brake)
            with _telling():
                self._pad.left_joystick_float(0.0 - command.steer, 0.0)
                self._pad.right_trigger_float(command.throttle)
                self._pad.left_trigger_float(command.brake)
                self._pad.update()

    def neutral(self) -> None:
        """Roll out under a gentle brake; does nothing on closed controls. Raises BackendUnavailable."""
        self.apply(*NEUTRAL)

    def close(self) -> None:
        """Put the pad at rest and unplug it; safe to call twice, and with a driver that is gone."""
        pad, self._pad = self._pad, None
        if pad is not None:
            # A pad whose driver is gone is gone as well.
            with suppress(Exception):
                pad.reset()
                pad.update()
            # Versions up to 0.1.0 unplug when the object goes, later ones have close() for it.
            with suppress(Exception):
                getattr(pad, "close", lambda: None)()

    def teleport(self, position: Vector, direction: Vector) -> None:
        """A pad has no such button; raises CannotTeleport."""
        raise CannotTeleport(f"a gamepad cannot put the car at {position}, {direction}")

    def press(self, button: Button, down: bool) -> None:
        """Press or release a bound button; does nothing on closed controls. Raises BackendUnavailable."""
        code = BUTTONS[button]
        if self._pad is not None:
            with _telling():
                if down:
                    self._pad.press_button(code)
                else:
                    self._pad.release_button(code)
                self._pad.update()


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

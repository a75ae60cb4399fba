"""Controls through the Custom AI memory of the Custom Shaders Patch (CSP): no driver, no filter, and teleports.

Promises that the game has taken our controls before `open` returns (CSP answers with a page of its own, Car0), that the
car is neutral whenever it is not driven, that closing takes our page away, and that whoever asks something of a car
that another bridge has taken is told so. It does not restart sessions, which CSP's users report as unsafe, and cannot
leave the "Drive" menu. Layout and names: layout.py, from CSP's wiki page "Custom AI". It imports no numpy: the process
that guards the controls uses it.
"""

import ctypes
import logging
import os
import struct
import time

from bridge.assetto_corsa.controls import controls
from bridge.assetto_corsa.controls.controls import NEUTRAL, BackendUnavailable, Button, Command, Vector, in_range
from bridge.assetto_corsa.reading.layout import CAR_CONTROLS_PAGE, CAR_PAGE, CarControls, CarData, Teleport
from bridge.assetto_corsa.reading.memory import GameError, PageUnusable, WritablePage, create_page, open_page

ANSWER_SECONDS = 3.0
"""For so long CSP may take to take the car over; it looks for us 333 times a second while physics run."""
TELEPORT_SECONDS = 0.05
"""For so long a teleport is asked for: 16 of CSP's looks at the page."""
OWNER = slice(69, 72)
"""Padding at the end of CarControls, which CSP does not read: three bytes that say which bridge drives."""
_POLL_SECONDS = 0.01
_PEDALS = struct.Struct("<5f")
"""gas, brake, clutch, steer, handbrake: the first bytes of CarControls, written at once."""

_log = logging.getLogger(__name__)


class CustomAI:
    """The Custom AI memory as a backend; `answer_seconds` is how long CSP may take to answer."""

    name = "csp"
    can_teleport = True
    buttons = frozenset({Button.TO_PITS, Button.GEAR_UP})

    def __init__(self, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._answer_seconds = answer_seconds
        self._page: WritablePage | None = None
        self._owner = b""
        self._found: bytes | None = None
        self._teleport_until = 0.0
        self._teleporting = False

    def why_not(self) -> str | None:
        """Why CSP does not take the car over; None when it does. Takes at most `answer_seconds`."""
        return None if self._page is not None else controls.why_not(self, self._give_back)

    def open(self) -> None:
        """Offer neutral controls and wait for CSP's answer; raises BackendUnavailable."""
        if self._page is not None:
            return
        # A Car0 that is there already (Linux keeps files) must be written anew.
        before = _packet()
        self.attach()
        until = time.monotonic() + self._answer_seconds
        while time.monotonic() < until:
            if _packet() not in (None, before):
                return
            time.sleep(_POLL_SECONDS)
        self._give_back()
        raise BackendUnavailable(
            f"the Custom Shaders Patch has not taken the car over within {self._answer_seconds:g} s. Try in this "
            "order: enter a session (not a pause or a replay); update CSP to 0.1.78 or newer; set ENABLED=1 in the "
            "section [CUSTOM_AI] of new_behaviour.ini (extension/config in the game's folder, or cfg/extension in the "
            "documents' folder Assetto Corsa, which wins) and restart the game. If it still does not answer, the "
            "track's permission may be needed: ALLOW_CUSTOM_AI_MANIPULATION=1 in the section [_EXTRA_PERMISSIONS] of "
            "its data/surfaces.ini, with extended physics; restart the session then."
        )

    def attach(self) -> None:
        """Open the controls, neutral, without waiting for an answer; raises BackendUnavailable."""
        page = self._page = _own_page()
        self._found = page.read() if page.existed else None
        # Whoever comes last drives: a bridge that hangs, or what guards a dead one, must not disturb the next one.
        self._owner = os.urandom(3)
        page.write(self._owner, OWNER.start)
        self._rest()
        # The clutch flags let the car start and change gears without a clutch pedal; autoshift does the gearbox's work.
        for flag in ("autoclutch_on_start", "autoclutch_on_change", "autoblip_active", "autoshift_active"):
            self._set(flag, 1)

    def join(self) -> None:
        """Open the controls of the bridge that drives now, and change nothing; raises BackendUnavailable."""
        page = self._page = _own_page()
        self._owner = page.read()[OWNER]

    @property
    def ours(self) -> bool:
        """Whether nobody has taken the controls since they were opened."""
        return self._page is not None and self._page.read()[OWNER] == self._owner

    def apply(self, steer: float, throttle: float, brake: float) -> None:
        """Hold these controls until the next call; does nothing on closed controls.

        Raises BackendUnavailable when another bridge has the car, as `teleport` and a button that is pressed do: what
        the car does is not ours then.
        """
        if self._still_ours():
            self._command(in_range(steer, throttle, brake))

    def neutral(self) -> None:
        """Roll out under a gentle brake; does nothing on closed controls, or on those of another bridge."""
        self._command(NEUTRAL)

    def close(self) -> None:
        """Leave neutral controls behind and take the page away; safe to call twice."""
        if self._page is not None and self.ours:
            self._rest()
            self._page.remove()
            self._page = None
        self.hand_over()

    def hand_over(self) -> None:
        """Leave the page, neutral, to whoever has joined, and close ours; safe to call twice."""
        if self._page is not None:
            self._rest()
            self._page.close()
        self._page = None

    def teleport(self, position: Vector, direction: Vector) -> None:
        """Ask CSP to put the car there; the request is withdrawn by an `apply` or `neutral` TELEPORT_SECONDS later."""
        if self._still_ours():
            assert self._page is not None
            self._page.write(struct.pack("<6f", *position, *direction), CarControls.teleport_pos.offset)
            self._ask_for(Teleport.POSITION)

    def press(self, button: Button, down: bool) -> None:
        """Shift up, or ask for the pits; a release withdraws either, and never raises but for other buttons, KeyError.

        The guard of a bridge that stands still releases them: a release of the pits withdraws any teleport.
        """
        if button not in self.buttons:
            raise KeyError(button)
        if down and not self._still_ours():
            return
        if button is Button.GEAR_UP:
            self._set("gear_up", int(down))
        elif down:
            self._ask_for(Teleport.PITS)
        else:
            self._set("teleport_to", Teleport.NONE)

    def _give_back(self) -> None:
        """Close what was only tried: a page that was there, and whoever drives through it, stays as it was found."""
        if self._found is not None and self._page is not None and self.ours:
            self._page.write(self._found)
            self._page.close()
            self._page = None
        self.close()

    def _still_ours(self) -> bool:
        """Whether there is a page to write into; raises BackendUnavailable when another bridge has taken it."""
        if self._page is None:
            return False
        if not self.ours:
            raise BackendUnavailable(
                "another bridge has taken the car over through the Custom Shaders Patch: whoever comes last drives, so "
                "this one must not go on. End one of the two, then start the other again."
            )
        return True

    def _command(self, command: Command) -> None:
        self._hold(command)
        if self._teleporting and time.monotonic() >= self._teleport_until:
            self._set("teleport_to", Teleport.NONE)
            self._teleporting = False

    def _rest(self) -> None:
        """Neutral, no gear and no teleport asked for."""
        self._hold(NEUTRAL)
        for request in ("teleport_to", "gear_up", "gear_dn"):
            self._set(request, 0)

    def _ask_for(self, where: Teleport) -> None:
        self._teleport_until = time.monotonic() + TELEPORT_SECONDS
        self._teleporting = True
        self._set("teleport_to", where)

    def _hold(self, command: Command) -> None:
        if self._page is not None and self.ours:
            # The game's steering is positive to the right.
            self._page.write(_PEDALS.pack(command.throttle, command.brake, 0.0, 0.0 - command.steer, 0.0))

    def _set(self, flag: str, value: int) -> None:
        if self._page is not None and self.ours:
            self._page.write(bytes([value]), getattr(CarControls, flag).offset)


def _own_page() -> WritablePage:
    try:
        return create_page(CAR_CONTROLS_PAGE, ctypes.sizeof(CarControls))
    except PageUnusable as unusable:
        raise BackendUnavailable(str(unusable)) from unusable


def _packet() -> int | None:
    """The number of CSP's last answer; None where there is none."""
    try:
        with open_page(CAR_PAGE, ctypes.sizeof(CarData)) as page:
            return int(CarData.from_buffer_copy(page.read()).packet_id)
    except GameError as error:
        if isinstance(error, PageUnusable):
            _log.debug("Car0 cannot be read: %s", error)
        return None

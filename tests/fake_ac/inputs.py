"""The three ways in which somebody drives the fake game: CSP's Custom AI memory, a virtual joystick, and a person.

Promises what the real ones do: CSP looks for the mapping that its client makes and only takes over where its settings
allow it; it goes on with the last values when the client is gone. Steering is the game's: positive to the right.
"""

import configparser
from dataclasses import dataclass
from pathlib import Path

from tests.fake_ac.offsets import CONTROLS, CONTROLS_SIZE, PAD, PAD_SIZE, SIM_STATE, SIM_STATE_SIZE
from tests.fake_ac.shared import Layout, Page

CUSTOM_AI = "AcTools.CSP.NewBehaviour.CustomAI."
CONTROLS_NAME = CUSTOM_AI + "CarControls0.v0"
CAR_NAME = CUSTOM_AI + "Car0.v0"
SIM_STATE_NAMES = ((CUSTOM_AI + "SimState.v1", SIM_STATE_SIZE), (CUSTOM_AI + "SimState.v0", 4))
PAD_NAME = "fake_ac_pad"
RESTART_BUTTON, START_BUTTON = 7, 9
NOWHERE, PITS, PLACE = 0, 1, 2
_LOOK_EVERY = 33

_CONTROLS = Layout(CONTROLS, CONTROLS_SIZE)
_PAD = Layout(PAD, PAD_SIZE)
_SIM_STATE = Layout(SIM_STATE, SIM_STATE_SIZE)


@dataclass(frozen=True)
class Wish:
    """What one of them asks for at one moment.

    Attributes: steer -1 to 1, right positive; gas and brake 0 to 1; gear_up and gear_down as held; the autoclutch
    flags and automatic as set; takes_first: the gas pedal takes the first gear, too; teleport with its game
    coordinates (x, y, z).
    """

    steer: float = 0.0
    gas: float = 0.0
    brake: float = 0.0
    gear_up: bool = False
    gear_down: bool = False
    autoclutch_on_start: bool = True
    autoclutch_on_change: bool = True
    automatic: bool = True
    takes_first: bool = True
    teleport: int = NOWHERE
    teleport_position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    teleport_direction: tuple[float, float, float] = (0.0, 0.0, 0.0)


class CustomAi:
    """CSP's side of Custom AI for car 0 and for the simulation."""

    def __init__(self, folder: Path, allowed: bool) -> None:
        self.allowed = allowed
        self.ready = True
        self._folder = folder
        self._too_early: list[Page] = []
        self._controls: Page | None = None
        self._sim_state: tuple[Page, int] | None = None
        self._ticks = 0

    @property
    def in_charge(self) -> bool:
        """Whether CSP drives the car."""
        return self._controls is not None

    def look(self) -> None:
        """Notice new mappings; to be called every physics step, does something now and then."""
        self._ticks += 1
        if not self.allowed or self._ticks % _LOOK_EVERY != 1:
            return
        if not self.ready:
            # Kept, so that the number of its file is nobody else's.
            if self._new() and (early := Page.find(self._folder / CONTROLS_NAME, CONTROLS_SIZE)) is not None:
                self._too_early.append(early)
            return
        if (self._controls is None or self._controls.replaced) and self._new():
            self._controls = Page.find(self._folder / CONTROLS_NAME, CONTROLS_SIZE) or self._controls
        if self._sim_state is None:
            for name, size in SIM_STATE_NAMES:
                page = Page.find(self._folder / name, size)
                if page is not None:
                    self._sim_state = page, size
                    break

    def _new(self) -> bool:
        """Whether the controls are none that were made too early."""
        return all(page.replaced or not page.path.exists() for page in self._too_early)

    def let_go(self) -> None:
        """Forget the mappings, as at a new session; they are found again where they still are."""
        self._controls = self._sim_state = None
        self._ticks = 0

    def wish(self) -> Wish:
        """What the client wrote last."""
        assert self._controls is not None
        data = self._controls.read()

        def number(name: str) -> float:
            return float(_CONTROLS.get(data, name))

        return Wish(
            steer=_clipped(number("steer"), -1.0),
            gas=_clipped(number("gas"), 0.0),
            brake=_clipped(number("brake"), 0.0),
            gear_up=bool(number("gear_up")),
            gear_down=bool(number("gear_dn")),
            autoclutch_on_start=bool(number("autoclutch_on_start")),
            autoclutch_on_change=bool(number("autoclutch_on_change")),
            automatic=bool(number("autoshift_active")),
            takes_first=False,
            teleport=int(number("teleport_to")),
            teleport_position=_CONTROLS.get(data, "teleport_pos"),
            teleport_direction=_CONTROLS.get(data, "teleport_dir"),
        )

    def simulation(self) -> tuple[bool, bool, float]:
        """Whether the client wants a pause, a restart, and the time scale."""
        if self._sim_state is None:
            return False, False, 1.0
        page, size = self._sim_state
        data = page.read().ljust(SIM_STATE_SIZE, b"\0")
        scale = _SIM_STATE.get(data, "time_scale") if size == SIM_STATE_SIZE else 1.0
        return bool(data[0]), bool(data[1]), scale if scale > 0.0 else 1.0


class Pad:
    """The virtual joystick or gamepad, as its driver shows it to the game."""

    def __init__(self, folder: Path) -> None:
        self._page = Page.create(folder / PAD_NAME, PAD_SIZE)
        self._data = bytes(PAD_SIZE)
        self._held = 0

    @property
    def connected(self) -> bool:
        """Whether the device is there."""
        self._data = self._page.read()
        return bool(_PAD.get(self._data, "connected"))

    def wish(self) -> Wish:
        """Its axes; gears change by themselves, with the game's automatic clutch."""
        return Wish(
            steer=_clipped(_PAD.get(self._data, "steer"), -1.0),
            gas=_clipped(_PAD.get(self._data, "throttle"), 0.0),
            brake=_clipped(_PAD.get(self._data, "brake"), 0.0),
        )

    def pressed(self) -> set[int]:
        """The buttons (1 is the first) that went down since the last call."""
        held = int(_PAD.get(self._data, "buttons")) if self.connected else 0
        down, self._held = held & ~self._held, held
        return {number + 1 for number in range(32) if down >> number & 1}

    def close(self) -> None:
        """Take the device away."""
        self._page.remove()


class VirtualDevice:
    """The other end of `Pad`: what stands in for a device's driver writes here what the device shows."""

    def __init__(self, folder: Path) -> None:
        page = Page.find(folder / PAD_NAME, PAD_SIZE)
        if page is None:
            raise FileNotFoundError(f"no fake game in {folder}")
        self._page = page
        self._data = bytearray(PAD_SIZE)

    def show(
        self, steer: float = 0.0, throttle: float = 0.0, brake: float = 0.0, buttons: frozenset[int] = frozenset()
    ) -> None:
        """Connected, with these axes (steer right positive) and the buttons of these numbers held."""
        held = sum(1 << number - 1 for number in buttons)
        axes = {"steer": steer, "throttle": throttle, "brake": brake}
        _PAD.put(self._data, {**axes, "buttons": held, "connected": 1})
        self._page.write(self._data)

    def unplug(self) -> None:
        """No device any more."""
        self._page.write(bytes(PAD_SIZE))


def custom_ai_allowed(root: Path, track: str, layout: str = "") -> bool:
    """Whether CSP's settings allow Custom AI on this track, or on this layout of it.

    They are in the install folder, and in the documents of the game's user under Proton, which win.
    """
    folder = root / "content" / "tracks" / track
    own = folder / layout / "data" / "surfaces.ini"
    surfaces = own if own.is_file() else folder / "data" / "surfaces.ini"
    behaviour = root / "extension" / "config" / "new_behaviour.ini"
    return _setting("CUSTOM_AI", "ENABLED", [behaviour, user_settings(root) / behaviour.name]) and _setting(
        "_EXTRA_PERMISSIONS", "ALLOW_CUSTOM_AI_MANIPULATION", [surfaces]
    )


def user_settings(root: Path) -> Path:
    """The folder of CSP's settings in the documents of the user of a game in `root`, a folder in steamapps/common."""
    user = root.parents[1] / "compatdata" / "244210" / "pfx" / "drive_c" / "users" / "steamuser"
    return user / "Documents" / "Assetto Corsa" / "cfg" / "extension"


def _setting(section: str, key: str, paths: list[Path]) -> bool:
    ini = configparser.ConfigParser(strict=False)
    ini.read(paths, encoding="utf-8")
    return ini.get(section, key, fallback="0").strip() == "1"


def _clipped(value: float, lowest: float) -> float:
    return min(max(value, lowest), 1.0) if value == value else 0.0

"""The game's pages, written byte by byte into a folder as the game under Proton has them; CSP's car data, too."""

import struct
from pathlib import Path

from tests.support.tools import need_page_files

PHYSICS, GRAPHICS, STATIC = "acpmf_physics", "acpmf_graphics", "acpmf_static"
CAR = "AcTools.CSP.NewBehaviour.CustomAI.Car0.v0"
SIZES = {PHYSICS: 580, GRAPHICS: 296, STATIC: 684, CAR: 672}
OFF, REPLAY, LIVE, PAUSE = range(4)


class WrittenGame:
    """Pages in `folder` that stand still until a test writes to them; offsets are the documents', not the bridge's."""

    def __init__(self, folder: Path, csp: bool = False) -> None:
        need_page_files()
        self.folder = folder
        for name in SIZES:
            if name != CAR or csp:
                (folder / name).write_bytes(bytes(SIZES[name]))
        self._packet = self._car_packet = 0
        self.show(LIVE)
        self.drive()

    def put(self, page: str, offset: int, code: str, *values: float) -> None:
        """Write values into a page that is there."""
        with (self.folder / page).open("r+b", buffering=0) as file:
            file.seek(offset)
            file.write(struct.pack(f"<{code}", *values))

    def show(self, status: int) -> None:
        """What the game shows."""
        self.put(GRAPHICS, 4, "i", status)

    def packet(self, number: int | None = None) -> None:
        """Count the physics packet on, or to `number`."""
        self._packet = self._packet + 1 if number is None else number
        self.put(PHYSICS, 0, "i", self._packet)

    def car_packet(self) -> None:
        """Count CSP's packet on."""
        self._car_packet += 1
        self.put(CAR, 0, "i", self._car_packet)

    def drive(
        self,
        where: tuple[float, float, float] = (10.0, 0.0, 20.0),
        velocity: tuple[float, float, float] = (0.0, 0.0, 30.0),
        heading: float = 0.0,
    ) -> None:
        """A packet of a car at this place (the game's x, y, z in m), velocity (m/s) and heading (rad)."""
        self.put(GRAPHICS, 252, "3f", *where)
        self.put(PHYSICS, 420, "12f", *where * 4)
        self.put(PHYSICS, 32, "3f", *velocity)
        self.put(PHYSICS, 208, "f", heading)
        self.packet()

    def vanish(self) -> None:
        """The game ends and its pages with it."""
        for name in SIZES:
            (self.folder / name).unlink(missing_ok=True)

    def come_back(self, packet: int) -> None:
        """Another game starts: the same names, other memory."""
        self.vanish()
        for name in (PHYSICS, GRAPHICS, STATIC):
            fresh = self.folder / f"{name}.new"
            fresh.write_bytes(bytes(SIZES[name]))
            fresh.replace(self.folder / name)
        self.packet(packet)
        self.show(LIVE)


class Moments:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Now, s."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

"""Puts the painted pages into shared memory, at the rates told, and badly where told to.

Promises packet numbers that rise by one with each publication and start anew with a session; a page that is not due
stays as it is.
"""

from collections import deque
from pathlib import Path

from tests.fake_ac.inputs import CAR_NAME
from tests.fake_ac.offsets import CAR_SIZE, GRAPHICS_SIZE, PHYSICS_SIZE, STATIC_SIZE
from tests.fake_ac.pages import GRAPHICS, PHYSICS, Painter, Scene
from tests.fake_ac.shared import Page

NAMES = {"physics": "acpmf_physics", "graphics": "acpmf_graphics", "static": "acpmf_static"}
_SIZES = {"physics": PHYSICS_SIZE, "graphics": GRAPHICS_SIZE, "static": STATIC_SIZE}
_REPLAY_SECONDS = 10.0


class Publisher:
    """The pages of one game.

    Attributes: physics_hz and graphics_hz, publications a second; physics_packet and graphics_packet, the last numbers.
    """

    def __init__(self, folder: Path, painter: Painter, static: bytes, tick_hz: float) -> None:
        self._folder = folder
        self._painter = painter
        self._static = static
        self._tick_hz = tick_hz
        self._pages: dict[str, Page] = {}
        self._car: Page | None = None
        self._due = {"physics": 0.0, "graphics": 0.0}
        self._tears: deque[tuple[str, float, bool]] = deque()
        self._seen: deque[tuple[bytes, bytes]] = deque(maxlen=int(_REPLAY_SECONDS * tick_hz))
        self._replayed = 0
        self.physics_hz, self.graphics_hz = tick_hz, 100.0
        self.physics_packet = self.graphics_packet = 0

    @property
    def present(self) -> bool:
        """Whether the pages are there to be found."""
        return bool(self._pages)

    def appear(self) -> None:
        """Make the pages, zeroed but for what never changes."""
        for page, name in NAMES.items():
            self._pages[page] = Page.create(self._folder / name, _SIZES[page])
            self._pages[page].write(bytes(_SIZES[page]))
        self._pages["static"].write(self._static)
        self.new_session()

    def vanish(self) -> None:
        """Take the pages away, as when the game ends; whoever holds one keeps its last bytes."""
        for page in self._pages.values():
            page.remove()
        self._pages = {}
        self.drop_car()

    def drop_car(self) -> None:
        """Take CSP's page of the car away."""
        if self._car is not None:
            self._car.remove()
            self._car = None

    def new_session(self) -> None:
        """Count packets from zero again."""
        self.physics_packet = self.graphics_packet = 0
        self._seen.clear()

    def tear(self, page: str, seconds: float, head_first: bool, times: int) -> None:
        """Write the next `times` publications of "physics" or "graphics" in two halves, `seconds` apart."""
        self._tears.extend([(page, seconds, head_first)] * times)

    def status(self, status: int, moving: bool) -> None:
        """Show only this status; packet numbers of the graphics page go on if `moving`."""
        if self._is_due("graphics"):
            self.graphics_packet += moving
            GRAPHICS.put(self._painter.graphics, {"status": status, "packetId": self.graphics_packet})
            self._write("graphics", self._painter.graphics)

    def publish(self, scene: Scene) -> None:
        """Show this scene on every page that is due, and on CSP's where CSP drives."""
        self.physics_packet += 1
        physics_due, graphics_due = self._is_due("physics"), self._is_due("graphics")
        if not (physics_due or graphics_due or scene.custom_ai):
            return
        now = self._painter.paint_physics(scene, self.physics_packet)
        if graphics_due:
            self.graphics_packet += 1
            self._painter.paint_graphics(scene, now, self.graphics_packet)
            self._write("graphics", self._painter.graphics)
        if physics_due:
            self._write("physics", self._painter.physics)
            self._seen.append((bytes(self._painter.physics), bytes(self._painter.graphics)))
        if scene.custom_ai:
            self._painter.paint_car(scene, now, self.physics_packet)
            self.put("car", bytes(self._painter.car))

    def put(self, page: str, data: bytes) -> None:
        """Publish these bytes as "physics", "graphics", "static" or "car", whatever they say."""
        if page != "car":
            self._write(page, data)
            return
        if self._car is None:
            self._car = Page.create(self._folder / CAR_NAME, CAR_SIZE)
        self._car.write(data)

    def replay(self, status: int) -> None:
        """Show the next of the moments seen lately, over and over, with new packet numbers and this status."""
        if not self._seen:
            return self.status(status, moving=True)
        physics, graphics = (bytearray(page) for page in self._seen[self._replayed % len(self._seen)])
        self._replayed += 1
        self.physics_packet += 1
        PHYSICS.put(physics, {"packetId": self.physics_packet})
        if self._is_due("physics"):
            self._write("physics", physics)
        if self._is_due("graphics"):
            self.graphics_packet += 1
            GRAPHICS.put(graphics, {"packetId": self.graphics_packet, "status": status})
            self._write("graphics", graphics)
        return None

    def _is_due(self, page: str) -> bool:
        self._due[page] += min(1.0, (self.physics_hz if page == "physics" else self.graphics_hz) / self._tick_hz)
        if self._due[page] < 1.0:
            return False
        self._due[page] -= 1.0
        return True

    def _write(self, page: str, data: bytes | bytearray) -> None:
        if page not in self._pages:
            return
        if self._tears and self._tears[0][0] == page:
            _, seconds, head_first = self._tears.popleft()
            self._pages[page].write_torn(data, seconds, head_first)
        else:
            self._pages[page].write(data)

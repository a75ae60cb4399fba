"""Reads the game's pages while the game writes them, and says what the game is doing.

Promises copies that nobody changes, whole ones (the game writes without a lock, so a copy that differs from the next
one is taken again), and that a game which went away, or came back as another process, is noticed. A write that takes
longer than two copies, which happens when the writer is put to sleep in the middle, cannot be told from a whole one by
anybody; its oldest values are then one packet old. It gives the values no meaning, and a read never waits for the game.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from bridge.assetto_corsa.reading.layout import (
    CAR_PAGE,
    GRAPHICS_PAGE,
    PHYSICS_PAGE,
    STATIC_PAGE,
    CarData,
    Graphics,
    Physics,
    Static,
    Status,
)
from bridge.assetto_corsa.reading.memory import GameError, Page, open_page

PHYSICS_BYTES, GRAPHICS_BYTES, STATIC_BYTES, CAR_BYTES = 580, 296, 684, 672
LOOK_AGAIN_SECONDS = 1.0
"""Pages whose packets stand still are opened anew so often: they may be the remains of a game that is gone."""
CAR_FRESH_SECONDS = 0.09
"""CSP's car data count for so long after they last changed; then CSP has let go of the car. It is two pictures at 25 a
second, and less than two control periods at 20 Hz."""
_LOOK_FOR_CAR_SECONDS = 0.1
_TRIES = 16


class PageUnsteady(GameError):
    """A page changed under every copy of it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the pages held at one moment, as copies."""

    physics: Physics
    graphics: Graphics
    car: CarData | None  # of CSP, while it has taken the car over
    read_at: float  # of the reader's clock, s
    duplicate: bool  # the physics page holds the packet of the snapshot before this one

    @property
    def status(self) -> Status:
        """What the game shows; OFF also for a value that the game is not known to write."""
        value = self.graphics.status
        return Status(value) if value in Status._value2member_map_ else Status.OFF


class GamePages:
    """The pages of a running game; found when they are read, and again after the game was away.

    `now` is a monotonic clock, s; `csp`: look for CSP's car data as well. `retries` counts the copies that were taken
    again because the game was writing.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter, csp: bool = True) -> None:
        self._now = now
        self._csp = csp
        self._physics: Page | None = None
        self._graphics: Page | None = None
        self._car: Page | None = None
        self._packet: int | None = None
        self._moved_at = self._opened_at = now()
        self._car_packet: int | None = None
        self._car_moved_at = self._look_for_car_at = float("-inf")
        self.retries = 0

    def read(self) -> Snapshot:
        """A snapshot of the pages as they are now, without waiting.

        Raises:
            GameNotRunning: there are no pages.
            PageUnusable: they are no pages of this game, or may not be read.
            PageUnsteady: one changes faster than it can be copied.
        """
        now = self._now()
        if self._physics is None or min(self.still_seconds, now - self._opened_at) > LOOK_AGAIN_SECONDS:
            self.close()
            self._open(now)
        assert self._physics is not None
        assert self._graphics is not None
        physics = Physics.from_buffer_copy(self._steady(self._physics))
        graphics = Graphics.from_buffer_copy(self._steady(self._graphics))
        # Compared for equality alone: the number wraps, and begins anew with the game.
        duplicate = physics.packetId == self._packet
        if not duplicate:
            self._packet = physics.packetId
            self._moved_at = now
        return Snapshot(physics, graphics, self._read_car(now) if self._csp else None, now, duplicate)

    @property
    def still_seconds(self) -> float:
        """For how long no new physics packet was seen, s."""
        return self._now() - self._moved_at

    def static(self) -> Static:
        """The page of the session, written when it begins: car, track, rules. Raises as `read` does."""
        with open_page(STATIC_PAGE, STATIC_BYTES) as page:
            return Static.from_buffer_copy(self._steady(page))

    def close(self) -> None:
        """Let go of the pages; safe to call twice. The next read opens them again."""
        for page in (self._physics, self._graphics, self._car):
            if page is not None:
                page.close()
        self._physics = self._graphics = self._car = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, now: float) -> None:
        self._physics = open_page(PHYSICS_PAGE, PHYSICS_BYTES)
        try:
            self._graphics = open_page(GRAPHICS_PAGE, GRAPHICS_BYTES)
        except GameError:
            self.close()
            raise
        self._opened_at = now

    def _steady(self, page: Page) -> bytes:
        """A copy that equals the one before it; its packet number comes first, so that one is compared, too."""
        copy = page.read()
        for _ in range(_TRIES):
            again = page.read()
            if again == copy:
                return again
            self.retries += 1
            copy = again
        raise PageUnsteady(
            f"The shared memory {page.name} changed under {_TRIES} copies in a row: something other than the game "
            "writes it. Close other tools that write the game's telemetry."
        )

    def _read_car(self, now: float) -> CarData | None:
        """CSP's car data, once they were seen to change; the page may outlive the takeover."""
        if self._car is None:
            if now < self._look_for_car_at:
                return None
            self._look_for_car_at = now + _LOOK_FOR_CAR_SECONDS
            try:
                self._car = open_page(CAR_PAGE, CAR_BYTES)
            except GameError:
                return None
        car = CarData.from_buffer_copy(self._steady(self._car))
        before, self._car_packet = self._car_packet, car.packet_id
        if before is not None and before != car.packet_id:
            self._car_moved_at = now
        if now - self._car_moved_at <= CAR_FRESH_SECONDS:
            return car
        if now >= self._look_for_car_at:
            self._car.close()
            self._car = None
        return None

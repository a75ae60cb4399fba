"""Copies a running game's pages into a recording, and a recording's pages back into shared memory at their own times.

Promises that every packet that is seen is kept, byte for byte but for the player's names, which nobody needs; and that
nothing is played over a game that runs. It sleeps between looks, so it may miss packets on a busy PC.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ctypes import sizeof

from bridge.assetto_corsa.layout import (
    CAR_CONTROLS_PAGE,
    CAR_PAGE,
    GRAPHICS_PAGE,
    PHYSICS_PAGE,
    STATIC_PAGE,
    CarControls,
    Static,
)
from bridge.assetto_corsa.memory import GameError, Page, WritablePage, create_page, open_page
from bridge.assetto_corsa.pages import CAR_BYTES, GRAPHICS_BYTES, PHYSICS_BYTES, STATIC_BYTES, GamePages
from bridge.assetto_corsa.recording import PageKind, Record

_POLL_SECONDS = 0.0015
_LOOK_SECONDS = 1.0
_PAGES = {
    PageKind.STATIC: (STATIC_PAGE, STATIC_BYTES),
    PageKind.PHYSICS: (PHYSICS_PAGE, PHYSICS_BYTES),
    PageKind.GRAPHICS: (GRAPHICS_PAGE, GRAPHICS_BYTES),
    PageKind.CAR: (CAR_PAGE, CAR_BYTES),
}
"""What is played; CSP's controls are what a bridge writes, and it shall write them anew."""
_NAMES = slice(Static.playerName.offset, Static.sectorCount.offset)


class GameRuns(GameError):
    """A game writes its pages, which a recording would overwrite."""


def recorded(stopped: Callable[[], bool], now: Callable[[], float] = time.perf_counter) -> Iterator[Record]:
    """The pages as they change, times in s from the first one.

    Raises:
        GameNotRunning, PageUnusable, PageUnsteady: as `GamePages.read` does, also when the game goes away.
    """
    latest: dict[PageKind, bytes] = {}
    with GamePages(now) as pages, _Controls() as controls:
        began = now()
        look_at = began
        while not stopped():
            snapshot = pages.read()
            at = snapshot.read_at - began
            seen = {PageKind.PHYSICS: bytes(snapshot.physics), PageKind.GRAPHICS: bytes(snapshot.graphics)}
            if snapshot.car is not None:
                seen[PageKind.CAR] = bytes(snapshot.car)
            if (applied := controls.read(snapshot.read_at)) is not None:
                seen[PageKind.CONTROLS] = applied
            if snapshot.read_at >= look_at:
                look_at = snapshot.read_at + _LOOK_SECONDS
                seen = {PageKind.STATIC: _nameless(bytes(pages.static()))} | seen
            for kind, data in seen.items():
                if latest.get(kind) != data:
                    latest[kind] = data
                    yield Record(kind, at, data)
            time.sleep(_POLL_SECONDS)


def play(records: Iterator[Record], stopped: Callable[[], bool], now: Callable[[], float] = time.perf_counter) -> None:
    """Write these pages at their times, then take them away; returns early when `stopped`.

    Raises:
        GameRuns: a game writes the pages just now.
        PageUnusable: the pages cannot be made.
        RecordingDamaged: from the records.
    """
    _check_no_game()
    began = now()
    with ExitStack() as stack:
        pages: dict[PageKind, WritablePage] = {}
        for record in records:
            if record.kind not in _PAGES:
                continue
            while (wait := began + record.time - now()) > 0.0 and not stopped():
                time.sleep(min(wait, 0.05))
            if stopped():
                return
            if record.kind not in pages:
                page = pages[record.kind] = create_page(*_PAGES[record.kind])
                stack.callback(page.remove)
            pages[record.kind].write(record.data)


def _check_no_game() -> None:
    """Old pages may lie there, but nobody may write them."""
    try:
        with GamePages(csp=False) as pages:
            before = pages.read()
            time.sleep(0.3)
            after = pages.read()
    except GameError:
        return
    if not after.duplicate or after.graphics.packetId != before.graphics.packetId:
        raise GameRuns("A game runs here, and the recording would write into its memory. End the game first.")


def _nameless(static: bytes) -> bytes:
    page = bytearray(static)
    page[_NAMES] = bytes(_NAMES.stop - _NAMES.start)
    return bytes(page)


class _Controls:
    """What somebody asks of CSP's Custom AI, where somebody does."""

    def __init__(self) -> None:
        self._page: Page | None = None
        self._look_at = 0.0

    def read(self, now: float) -> bytes | None:
        """The controls now; None where there are none. Looked for, and opened anew, each second."""
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._close()
            try:
                self._page = open_page(CAR_CONTROLS_PAGE, sizeof(CarControls))
            except GameError:
                return None
        return None if self._page is None else self._page.read()

    def _close(self) -> None:
        if self._page is not None:
            self._page.close()
        self._page = None

    def __enter__(self) -> "_Controls":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

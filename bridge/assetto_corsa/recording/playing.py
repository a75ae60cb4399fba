"""Copies a running game's pages into a recording, and a recording's pages back into shared memory at their own times.

Promises that every packet that is seen is kept, byte for byte but for the player's names, which nobody needs; that
nothing is played over a game that runs (on Windows: over any page that is there), no page is taken away that was not
made here, and what a stranger's file holds is either a page at its time or a sentence. It sleeps between looks, so it
may miss packets on a busy PC.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from ctypes import sizeof

from bridge.assetto_corsa.reading.layout import (
    CAR_CONTROLS_PAGE,
    CAR_PAGE,
    GRAPHICS_PAGE,
    PHYSICS_PAGE,
    STATIC_PAGE,
    CarControls,
    Static,
)
from bridge.assetto_corsa.reading.memory import GameError, Page, WritablePage, create_page, open_page
from bridge.assetto_corsa.reading.pages import CAR_BYTES, GRAPHICS_BYTES, PHYSICS_BYTES, STATIC_BYTES, GamePages
from bridge.assetto_corsa.reading.patience import PatientPages
from bridge.assetto_corsa.recording.recording import PageKind, Record, RecordingDamaged

_POLL_SECONDS = 0.0015
_LOOK_SECONDS = 1.0
GAME_LOOK_SECONDS = 2.5
"""For so long pages that are there already must not change: a game that loads stands still for a while."""
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
        GameNotRunning, PageUnusable, PageUnsteady: as `PatientPages.read` does, also when the game has gone away.
    """
    latest: dict[PageKind, bytes] = {}
    with GamePages(now) as game:
        pages = PatientPages(game, now)
        began = look_at = now()
        while not stopped():
            if (snapshot := pages.read()) is None:
                time.sleep(_POLL_SECONDS)
                continue
            at = snapshot.read_at - began
            seen = {PageKind.PHYSICS: bytes(snapshot.physics), PageKind.GRAPHICS: bytes(snapshot.graphics)}
            if snapshot.car is not None:
                seen[PageKind.CAR] = bytes(snapshot.car)
            if (applied := _controls()) is not None:
                seen[PageKind.CONTROLS] = applied
            if snapshot.read_at >= look_at and (static := pages.static()) is not None:
                look_at = snapshot.read_at + _LOOK_SECONDS
                page = bytearray(static)
                page[_NAMES] = bytes(_NAMES.stop - _NAMES.start)
                seen = {PageKind.STATIC: bytes(page)} | seen
            for kind, data in seen.items():
                if latest.get(kind) != data:
                    latest[kind] = data
                    yield Record(kind, at, data)
            time.sleep(_POLL_SECONDS)


def play(
    recording: Iterable[Record],
    stopped: Callable[[], bool],
    loop: bool = False,
    now: Callable[[], float] = time.perf_counter,
) -> None:
    """Write these pages at their times, again and again if `loop`, then take them away; ends early when `stopped`.

    Raises:
        GameRuns: a game writes the pages just now, or may do so.
        PageUnusable: the pages cannot be made.
        RecordingDamaged: from the records, or since they are no pages in the order of their times.
    """
    if sys.platform != "win32":
        _check_no_game(stopped)
    with ExitStack() as stack:
        pages: dict[PageKind, WritablePage] = {}
        while not stopped():
            began, count = now(), 0
            for record in sound(recording):
                while (wait := began + record.time - now()) > 0.0 and not stopped():
                    time.sleep(min(wait, 0.05))
                if stopped():
                    return
                if record.kind not in pages:
                    pages[record.kind] = _made(record.kind, stack)
                pages[record.kind].write(record.data)
                count += 1
            if not count:
                raise RecordingDamaged("The recording holds none of the game's pages, so nothing can be played.")
            if not loop:
                return
            # So that the shortest recording is no busy loop.
            time.sleep(_POLL_SECONDS)


def _made(kind: PageKind, stack: ExitStack) -> WritablePage:
    page = create_page(*_PAGES[kind])
    stack.callback(page.close if page.existed else page.remove)
    if page.existed and sys.platform == "win32":
        # It lives there only while somebody holds it: a game, which may hang or load, or a tool that knows one.
        raise GameRuns(
            f"The shared memory {page.name} is there already, so a game or a tool for it runs here, and the recording "
            "would write into its memory. End both first."
        )
    return page


def sound(recording: Iterable[Record]) -> Iterator[Record]:
    """The records of pages that are played, each of its page's size and none before the one before it."""
    last = 0.0
    for number, record in enumerate(recording, start=1):
        if not (math.isfinite(record.time) and record.time >= last):
            raise RecordingDamaged(
                f"Record {number} of the recording is from {record.time:g} s, after one from {last:g} s: the file is "
                "damaged, or no recorder made it. Copy it again, or record anew."
            )
        last = record.time
        if record.kind not in _PAGES:
            continue
        name, size = _PAGES[record.kind]
        if len(record.data) != size:
            raise RecordingDamaged(
                f"Record {number} of the recording has {len(record.data)} bytes, but the page {name} {size}: the file "
                "is damaged, or no recorder made it. Copy it again, or record anew."
            )
        yield record


def _check_no_game(stopped: Callable[[], bool]) -> None:
    """Old pages may lie there, but nobody may write them."""
    with ExitStack() as stack:
        pages: list[Page] = []
        for name, size in _PAGES.values():
            with suppress(GameError):
                pages.append(stack.enter_context(open_page(name, size)))
        before = [page.read() for page in pages]
        until = time.monotonic() + GAME_LOOK_SECONDS
        while pages and time.monotonic() < until and not stopped():
            if [page.read() for page in pages] != before:
                raise GameRuns("A game runs here, and the recording would write into its memory. End the game first.")
            time.sleep(0.02)


def _controls() -> bytes | None:
    """What somebody asks of CSP's Custom AI; None where nobody does."""
    try:
        with open_page(CAR_CONTROLS_PAGE, sizeof(CarControls)) as page:
            return page.read()
    except GameError:
        return None

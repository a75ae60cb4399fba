"""Where the bridges' cars are, kept in a file for whoever watches: the newest of each, about ten times a second.

Nothing of delivery depends on it. What one bridge tells, however often, is worth no more work than MOST_PER_SECOND
messages, and takes no other bridge's room; a disk that is slow or full costs only news.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from runtime.logs import fields
from train_cloud.live_file import MAX_CARS, LiveCar, LiveFile, write_live
from train_cloud.receiver.plausible import plausible_telemetry
from train_cloud.spot_table import KEPT, Spot
from wire.messages import Hello, Telemetry

WRITE_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 2.0
"""After the disk has not taken the file, it is tried again."""
MOST_PER_SECOND: Final = 20
"""Messages of one bridge; what is more, in a second, is not looked at."""

_SHOWN: Final = set(LiveCar.__struct_fields__) & set(Telemetry.__struct_fields__)

_log = logging.getLogger(__name__)
_Timed = tuple[float, float, float]
"""Unix time (s), place (m), gap (m)."""


class _Bridge:
    """A connected bridge: its newest car, None before it has told, and where its cars left the track."""

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.car: LiveCar | None = None
        self.spots: deque[_Timed] = deque(maxlen=KEPT)
        self._left, self._at = float(MOST_PER_SECOND), time.monotonic()

    def may_tell(self) -> bool:
        """Whether one more message is looked at."""
        now = time.monotonic()
        self._left = min(float(MOST_PER_SECOND), self._left + (now - self._at) * MOST_PER_SECOND)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class LiveCars:
    """The cars of the connected bridges, by stream, and the file at `path` that shows them.

    `spots` are places where cars left the track in an earlier life, oldest first.
    """

    def __init__(self, path: Path, spots: Iterable[Spot] = ()) -> None:
        self._path = path
        self._bridges: dict[str, _Bridge] = {}
        self._gone: deque[_Timed] = deque(((0.0, *spot) for spot in spots), maxlen=KEPT)
        """Where cars of bridges left the track that have left since."""
        self._changed, self._failing = False, False
        self._writing = threading.Lock()

    def joined(self, hello: Hello) -> None:
        """A bridge was welcomed."""
        self.left(hello.stream)
        self._bridges[hello.stream] = _Bridge(hello)

    def told(self, stream: str, telemetry: Telemetry, shortest_lap: float) -> None:
        """A bridge said where its car is, on a track whose shortest lap (s) is that; 0 for one that is not known."""
        bridge = self._bridges.get(stream)
        if bridge is None or not bridge.may_tell():
            return
        plausible = plausible_telemetry(telemetry, shortest_lap)
        if plausible is None:
            return
        now = time.time()
        numbers = {name: getattr(plausible, name) for name in _SHOWN}
        bridge.car = LiveCar(stream, bridge.hello.bridge, now, **numbers)
        bridge.spots.extend((now, *spot) for spot in plausible.off_tracks)
        self._changed = True

    def left(self, stream: str) -> None:
        """A bridge's connection has ended."""
        bridge = self._bridges.pop(stream, None)
        if bridge is not None and bridge.car is not None:
            self._gone = deque(sorted([*self._gone, *bridge.spots]), KEPT)
            self._changed = True

    async def keep(self) -> None:
        """Write what has changed, every WRITE_SECONDS, until cancelled; a write at a time, in another thread."""
        with suppress(OSError):
            # Of an earlier life, it says nothing of this one.
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self._failing else WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write the file, if anything has changed since the last time."""
        if not self._changed:
            return
        self._changed = False
        try:
            await asyncio.to_thread(self._put, self._shown())
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.warning("where the cars are cannot be written", extra=fields(reason=error))
            self._changed = self._failing = True

    def _put(self, live: LiveFile) -> None:
        # A write whose waiting was cancelled may still go on.
        with self._writing:
            write_live(self._path, live)

    def spots(self) -> tuple[Spot, ...]:
        """Where cars left the track, oldest first, each bridge with its share."""
        shared = fair_share([self._gone, *(bridge.spots for bridge in self._bridges.values())], KEPT)
        return tuple((place, gap) for _, place, gap in shared)

    def _shown(self) -> LiveFile:
        cars = [bridge.car for bridge in self._bridges.values() if bridge.car is not None]
        cars.sort(key=lambda car: -car.at)
        return LiveFile(time.time(), tuple(cars[:MAX_CARS]), self.spots())


def fair_share(spots: list[deque[_Timed]], most: int) -> list[_Timed]:
    """The newest `most` of them, the oldest first; where that is too few for all, everybody has as much room."""
    shared: list[_Timed] = []
    left = most
    for number, mine in enumerate(sorted(spots, key=len)):
        room = min(len(mine), left // (len(spots) - number))
        shared.extend(list(mine)[len(mine) - room :])
        left -= room
    return sorted(shared)

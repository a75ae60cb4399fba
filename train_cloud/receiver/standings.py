"""How each bridge stands, and that the receiver lives, kept in the store about once a second for whoever watches.

Where a bridge's car is goes to a file beside it (live.py).

It follows Hellos, reports and ends; nothing of delivery depends on it, and a disk that is slow or full costs only news.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from runtime.logs import fields
from train_cloud.bridge_table import BridgeStanding, nobody_is_connected, put_standings
from train_cloud.history_table import put_beat
from train_cloud.receiver.connection import PeerError
from train_cloud.receiver.live import LiveCars
from train_cloud.run_folder.files import LIVE
from train_cloud.spot_table import Spot, put_spots, spots
from train_cloud.store import Store, StoreError
from wire.messages import CloseCode, ErrorCode, Hello, Report, Role, Telemetry

WRITE_SECONDS: Final = 1.0
PROCESS: Final = "receiver"
HEALTHY: Final = "healthy"

_log = logging.getLogger(__name__)


class Standings:
    """The bridges that this receiver has met, by stream; `problem` says why it is not healthy, None when it is."""

    def __init__(self, store: Store, problem: Callable[[], str | None]) -> None:
        self._store, self._problem = store, problem
        self._spots: tuple[Spot, ...] = spots(store, "heard")
        """As the table has them."""
        self._live = LiveCars(store.path.parent / LIVE, self._spots)
        self._known: dict[str, BridgeStanding] = {}
        self._unwritten: set[str] = set()
        self._failing = False

    def joined(self, hello: Hello) -> None:
        """A bridge is to be welcomed; PeerError where one of another role has its stream id and is connected."""
        known = self._known.get(hello.stream)
        if known is not None and known.connected and known.role != hello.role:
            taken = f"The stream id of {hello.bridge!r} is in use by {known.bridge!r}, which is here as {known.role!r}."
            text = f"{taken} End that one, or give this one a stream id of its own."
            raise PeerError(ErrorCode.DUPLICATE_BRIDGE, text, CloseCode.TRY_AGAIN_LATER)
        self._live.joined(hello)
        who = (hello.stream, hello.bridge, hello.role, hello.software)
        alone = hello.role == Role.COLLECT and hello.real_time and hello.cars == 1
        self._note(BridgeStanding(*who, True, time.time(), hello.weights_version, real_time=alone))

    def reported(self, stream: str, report: Report) -> None:
        """A bridge said how it stands; of what it says between two writes, the last counts."""
        if stream in self._known:
            self._note(replace(self._known[stream], heard_at=time.time(), **msgspec.structs.asdict(report)))

    def told(self, stream: str, telemetry: Telemetry, shortest_lap: float) -> None:
        """A bridge said where its car is; as LiveCars.told."""
        self._live.told(stream, telemetry, shortest_lap)

    def left(self, stream: str) -> None:
        """A bridge's connection has ended."""
        self._live.left(stream)
        self._note(replace(self._known[stream], connected=False))

    async def keep(self) -> None:
        """Write what has changed, every WRITE_SECONDS, until cancelled; a write at a time, in another thread."""
        await self._write(lambda: nobody_is_connected(self._store))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live.keep())
            tasks.create_task(self._keep_table())

    async def write(self) -> None:
        """Write what has changed since the last time, and how the receiver is."""
        await self._live.write()
        await self._write_table()

    async def _keep_table(self) -> None:
        while True:
            await self._write_table()
            await asyncio.sleep(WRITE_SECONDS)

    async def _write_table(self) -> None:
        state = self._problem() or HEALTHY
        await self._write(lambda: put_beat(self._store, PROCESS, state))
        left = self._live.spots()
        if left != self._spots and await self._write(lambda: put_spots(self._store, "heard", left)):
            self._spots = left
        changed = [self._known[stream] for stream in self._unwritten]
        self._unwritten.clear()
        if changed and not await self._write(lambda: put_standings(self._store, changed)):
            self._unwritten |= {standing.stream for standing in changed}
            return
        for standing in changed:
            # Unless it has come back meanwhile.
            if not standing.connected and self._known[standing.stream] is standing:
                del self._known[standing.stream]

    async def _write(self, work: Callable[[], None]) -> bool:
        try:
            await asyncio.to_thread(work)
        except StoreError as error:
            if not self._failing:
                _log.warning("how bridges and receiver stand cannot be written", extra=fields(reason=error))
            self._failing = True
            return False
        self._failing = False
        return True

    def _note(self, standing: BridgeStanding) -> None:
        self._known[standing.stream] = standing
        self._unwritten.add(standing.stream)

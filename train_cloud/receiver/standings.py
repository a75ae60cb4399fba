"""How each bridge stands, kept in the store about once a second for whoever watches.

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
from train_cloud.store import Store, StoreError
from wire.messages import Hello, Report

WRITE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class Standings:
    """The bridges that this receiver has met, by stream."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, BridgeStanding] = {}
        self._unwritten: set[str] = set()

    def joined(self, hello: Hello) -> None:
        """A bridge was welcomed."""
        who = (hello.stream, hello.bridge, hello.role, hello.software)
        alone = hello.real_time and hello.cars == 1
        self._note(BridgeStanding(*who, True, time.time(), hello.weights_version, real_time=alone))

    def reported(self, stream: str, report: Report) -> None:
        """A bridge said how it stands; of what it says between two writes, the last counts."""
        if stream in self._known:
            self._note(replace(self._known[stream], heard_at=time.time(), **msgspec.structs.asdict(report)))

    def left(self, stream: str) -> None:
        """A bridge's connection has ended."""
        self._note(replace(self._known[stream], connected=False))

    async def keep(self) -> None:
        """Write what has changed, every WRITE_SECONDS, until cancelled; a write at a time, in another thread."""
        await self._write(lambda: nobody_is_connected(self._store))
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what has changed since the last time."""
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
            _log.warning("how the bridges stand cannot be written", extra=fields(reason=error))
            return False
        return True

    def _note(self, standing: BridgeStanding) -> None:
        self._known[standing.stream] = standing
        self._unwritten.add(standing.stream)

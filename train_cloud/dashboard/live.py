"""One look for all who listen: a single producer makes each event once, and each listener gets the newest of them.

Nobody's events wait for anybody: a listener that is slow misses those between, and none are kept. While nobody listens
nothing is read.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple

import msgspec

from train_cloud.dashboard.reading import Reading

MOST_LISTENERS: Final = 50
LOOK_SECONDS: Final = 0.5
"""Between two looks that are told, at least; nobody has to wait longer for one that is new."""
SIGN_OF_LIFE_SECONDS: Final = 2.0
"""Between two looks that are told, at most."""
LIVE_SECONDS: Final = 0.1
"""Between two events of where the cars are, at least."""
TICK_SECONDS: Final = 0.05
RETRY_MS: Final = 1000
"""After which a browser whose stream broke asks for it anew."""

_log = logging.getLogger(__name__)


class TooManyListeners(Exception):
    """No more listeners are taken; the text is a sentence."""


class _Event(NamedTuple):
    number: int
    data: bytes


class Live:
    """Makes events of what `reading` sees, in the thread of `executor`, for at most `most` listeners."""

    def __init__(self, reading: Reading, executor: Executor, most: int = MOST_LISTENERS) -> None:
        self._reading, self._executor, self._most = reading, executor, most
        self._news = asyncio.Condition()
        self._newest: dict[str, _Event] = {}
        self._numbers = 0
        self._producer: asyncio.Task[None] | None = None
        self._closed = False
        self.listeners = 0
        """How many listen now."""

    def listen(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Server-sent events from now on, the newest at once, for as long as `goes_on`. Raises TooManyListeners."""
        if self.listeners >= self._most:
            raise TooManyListeners(f"{self._most} listen already, and no more can. Close other windows of this page.")
        return self._events(goes_on)

    async def close(self) -> None:
        """Let all listeners go."""
        self._closed = True
        if self._producer is not None:
            self._producer.cancel()
        async with self._news:
            self._news.notify_all()

    async def _events(self, goes_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        self.listeners += 1
        try:
            if self._producer is None:
                self._newest.clear()
                self._producer = asyncio.create_task(self._produce())
            heard = 0
            yield b"retry: %d\n\n" % RETRY_MS
            while not self._closed and goes_on():
                newest = sorted(event for event in self._newest.values() if event.number > heard)
                for event in newest:
                    heard = event.number
                    yield event.data
                async with self._news:
                    await self._news.wait_for(lambda: self._closed or self._is_newer(heard))  # noqa: B023 - asked in this turn
        finally:
            self.listeners -= 1
            if not self.listeners and self._producer is not None:
                self._producer.cancel()
                self._producer = None

    def _is_newer(self, heard: int) -> bool:
        return any(event.number > heard for event in self._newest.values())

    async def _produce(self) -> None:
        """Make events until cancelled."""
        looks, cars = _Looks(self._reading), _Cars(self._reading)
        while True:
            try:
                for kind, source in (("look", looks), ("live", cars)):
                    found = await asyncio.get_running_loop().run_in_executor(self._executor, source.news)
                    if found is not None:
                        await self._tell(kind, found)
            except Exception:
                # Whatever it was may pass, and who listens sees that nothing comes.
                _log.exception("a look at the run failed")
                await asyncio.sleep(SIGN_OF_LIFE_SECONDS)
            await asyncio.sleep(TICK_SECONDS)

    async def _tell(self, kind: str, data: bytes) -> None:
        async with self._news:
            self._numbers += 1
            self._newest[kind] = _Event(self._numbers, b"event: %s\ndata: %s\n\n" % (kind.encode(), data))
            self._news.notify_all()


class _Looks:
    """When there is a look to tell, and which."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._looked = self._told = float("-inf")
        self._before: Any = None

    def news(self) -> bytes | None:
        """The look, if it is new or long ago, as JSON."""
        now = time.monotonic()
        if now - self._told < LOOK_SECONDS:
            return None
        # Also where nothing was committed time goes by, and who was silent may now count as gone.
        if now - self._looked < LOOK_SECONDS and not self._reading.changed():
            return None
        self._looked = now
        document = self._reading.look()
        lasting = _without_ages(document)
        if lasting == self._before and now - self._told < SIGN_OF_LIFE_SECONDS:
            return None
        self._told, self._before = now, lasting
        return msgspec.json.encode(document)


class _Cars:
    """When there is news of where the cars are, and which."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._told = float("-inf")
        self._first = True

    def news(self) -> bytes | None:
        """Where the cars are, if that is new, as JSON."""
        now = time.monotonic()
        if now - self._told < LIVE_SECONDS:
            return None
        found = self._reading.live()
        if found is None and self._first:
            found = self._reading.newest_live()
        if found is None:
            return None
        self._told, self._first = now, False
        return msgspec.json.encode(found)


def _without_ages(document: dict[str, Any]) -> dict[str, Any]:
    """What of a look is not just the time that went by."""
    bridges = [one | {"age_s": 0.0} for one in document["bridges"]]
    return document | {"now": 0.0, "bridges": bridges}

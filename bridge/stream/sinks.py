"""Where frames go on their way to the link: into the spool, which outlives this process, or into a sender's hand.

Who makes the frames never waits for either.
"""

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from bridge.spool import Spool, SpoolFull
from runtime.logs import fields
from wire.messages import Telemetry, TelemetryBatch

SIGNATURE: Final = "telemetry"
"""What a spool of frames is bound to, so that nobody takes them for experience."""
MOST_WAITING: Final = 36_000
"""Frames that wait in memory while the spool takes none: ten minutes at 60 Hz."""
PART_SECONDS: Final = 1.0
"""A batch that is not full by then is committed as it is."""
_AGAIN_SECONDS: Final = 1.0
_TELL_AGAIN_SECONDS: Final = 60.0
_DECODER: Final = msgspec.msgpack.Decoder(tuple[Telemetry, ...])

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes frames."""

    def put(self, frame: Telemetry) -> None:
        """Take one; never waits."""

    def close(self) -> None:
        """No further one comes: bring on what is held back."""

    @property
    def lost(self) -> int:
        """Frames that will not arrive."""


def batch_of(number: int, blob: bytes) -> TelemetryBatch:
    """The message of a batch in the spool."""
    return TelemetryBatch(number, _DECODER.decode(blob))


class Keeper:
    """Commits frames to `spool`, in a thread of its own; `on_commit` is called after each batch.

    A batch has `size` frames, or as many as came in PART_SECONDS. What waits for its batch, or for a disk that takes
    nothing, is in memory, and ends with the process.
    """

    def __init__(self, spool: Spool, size: int, on_commit: Callable[[], None]) -> None:
        self._spool, self._size, self._on_commit = spool, size, on_commit
        self._waiting: deque[Telemetry] = deque()
        self._change = threading.Condition()
        self._closed = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def put(self, frame: Telemetry) -> None:
        """Take one; the oldest is given up where far too many wait for the disk."""
        with self._change:
            self._waiting.append(frame)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._change.notify()

    def close(self) -> None:
        """Commit what is held back, once; what finds no room is lost, and said."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        told = 0.0
        while frames := self._next():
            blob = msgspec.msgpack.encode(frames)
            while True:
                try:
                    self._spool.append(blob, len(frames))
                except (SpoolFull, sqlite3.Error) as error:
                    if told <= 0.0:
                        _log.warning("frames find no room; they wait in memory", extra=fields(reason=error))
                        told = _TELL_AGAIN_SECONDS
                    with self._change:
                        if self._closed:
                            self.lost += len(frames)
                            break
                        self._change.wait(_AGAIN_SECONDS)
                    told -= _AGAIN_SECONDS
                else:
                    break
            self._on_commit()

    def _next(self) -> list[Telemetry]:
        """The next batch, once it is full or old enough, or the end has come; empty for nothing more."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed)
            self._change.wait_for(lambda: len(self._waiting) >= self._size or self._closed, PART_SECONDS)
            return [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]


class Newest:
    """Holds the newest frames, `most` of them, for the link, as its `Shown`; what is older and not sent is dropped."""

    def __init__(self, most: int = 1) -> None:
        self._frames: deque[Telemetry] = deque(maxlen=most)
        self._hand = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._put = self._sent = 0

    @property
    def lost(self) -> int:
        """Frames that were dropped, or that a cut has taken."""
        return self._put - self._sent

    @property
    def waiting(self) -> int:
        """Frames that are not under way yet."""
        return len(self._frames)

    def put(self, frame: Telemetry) -> None:
        """Take one in place of the oldest."""
        with self._hand:
            self._frames.append(frame)
        self._put += 1
        # After the loop's end nobody is left to be told.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """Nothing is held back."""

    async def keep_looking(self) -> None:
        """Be told of frames, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._news.set()
        await self._loop.create_future()

    async def next(self) -> Telemetry:
        """The oldest of the newest frames, once there is one that was not sent."""
        while True:
            with self._hand:
                frame = self._frames.popleft() if self._frames else None
            if frame is not None:
                return frame
            self._news.clear()
            await self._news.wait()

    async def sent(self, size: int) -> None:  # noqa: ARG002 - of Shown
        """One was sent; the next may follow at once."""
        self._sent += 1

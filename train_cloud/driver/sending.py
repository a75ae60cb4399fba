"""Brings a driver's experience to the receiver on the same machine, as a bridge does: numbered, in order, once.

Batches wait in memory until the receiver says that they are safe; they are as short-lived as the driver, whose next
life begins a new stream. Over the receiver's restarts what is not stored is sent again.
"""

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from experience.sink import SinkFull
from runtime.logs import fields
from runtime.socket_path import short_path
from wire.delivery import Outbox, StreamConflict
from wire.frames import FrameError, decode_down, encode_frame
from wire.messages import MAX_DOWN_FRAME_BYTES, PROTOCOL, Ack, Error, ErrorCode, Hello, TransitionBatch, Welcome

MOST_BYTES: Final = 256 * 2**20
"""That wait in memory, for one car; a day's worth."""
AGAIN_SECONDS: Final = 0.5
"""Between two calls of the receiver."""
_FINAL: Final = frozenset(
    {ErrorCode.WRONG_SIGNATURE, ErrorCode.BAD_BATCH, ErrorCode.TOO_LARGE, ErrorCode.BAD_MESSAGE, ErrorCode.UNKNOWN_ROLE}
)

_log = logging.getLogger(__name__)


async def dialled(path: Path) -> ClientConnection:
    """A connection to the receiver's socket at `path`. Raises OSError, InvalidHandshake."""
    calling = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as short:
            # On the same machine it is there at once, or not at all.
            calling.connect(short)
        calling.setblocking(False)
        return await connect(
            "ws://localhost/",
            sock=calling,
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,
            max_size=MAX_DOWN_FRAME_BYTES,
            ping_interval=None,
            close_timeout=1.0,
            proxy=None,
        )
    except BaseException:
        calling.close()
        raise


class Batches:
    """Holds a stream's batches in memory, an `experience.sink.Sink`; any thread may call."""

    def __init__(self) -> None:
        self._hand = threading.Lock()
        self._blobs: dict[int, bytes] = {}
        self._size = 0
        self._steps: Counter[int] = Counter()
        self.last_number = 0

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:  # noqa: ARG002
        """As of Sink."""
        with self._hand:
            if self._size + len(blob) > MOST_BYTES:
                raise SinkFull(f"{MOST_BYTES >> 20} MiB of experience wait for the receiver to have them safe")
            self.last_number += 1
            self._blobs[self.last_number] = blob
            self._size += len(blob)
            self._steps.update(steps_by_car or {})
            return self.last_number

    def steps_of_car(self, car: int) -> int:
        """As of Sink."""
        return self._steps[car]

    def blob(self, number: int) -> bytes:
        """The batch of this number, which was not forgotten."""
        with self._hand:
            return self._blobs[number]

    def forget(self, through: int) -> None:
        """These are safe."""
        with self._hand:
            for number in [number for number in self._blobs if number <= through]:
                self._size -= len(self._blobs.pop(number))


class Sender:
    """Sends one stream's `batches`; lives in an event loop.

    `hello` says who sends; while nobody is `wanted` and all is stored, it hangs up, so that no car is counted that is
    not there.
    """

    def __init__(self, path: Path, batches: Batches, hello: Callable[[int], Hello]) -> None:
        self._path, self._batches, self._hello = path, batches, hello
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told = ""
        """Why it could not send, as the log says already."""
        self.wanted = False
        self.refusal: str | None = None
        """Why nothing more can be sent, in a sentence."""

    @property
    def all_stored(self) -> bool:
        """Whether the receiver has committed everything."""
        return self._outbox.stored_through >= self._batches.last_number

    def notify(self) -> None:
        """Say that there is a new batch, or that `wanted` has changed; from any thread."""
        self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Send until cancelled, or refused."""
        while self.refusal is None:
            while not self.wanted and self.all_stored:
                self._wake.clear()
                await self._wake.wait()
            try:
                connection = await dialled(self._path)
                try:
                    await self._talk(connection)
                finally:
                    self._outbox.disconnected()
                    await connection.close()
            except (OSError, InvalidHandshake, ConnectionClosed, FrameError) as error:
                self._tell(str(error) or type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)
            except StreamConflict as error:
                self.refusal = str(error)

    async def _talk(self, connection: ClientConnection) -> None:
        await connection.send(encode_frame(self._hello(self._batches.last_number)))
        hearing = asyncio.ensure_future(self._hear(connection))
        try:
            while self.refusal is None and (self.wanted or not self.all_stored):
                self._wake.clear()
                while self._outbox.last_number < self._batches.last_number:
                    self._outbox.appended(self._outbox.last_number + 1)
                while (number := self._outbox.next_number()) is not None:
                    await connection.send(encode_frame(TransitionBatch(number, self._batches.blob(number))))
                    self._outbox.sent(number)
                waking = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait({waking, hearing}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                if hearing.done():
                    hearing.result()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            _log.warning("the receiver takes no experience now; it waits", extra=fields(reason=reason))
        self._told = reason

    async def _hear(self, connection: ClientConnection) -> None:
        async for frame in connection:
            match decode_down(frame):
                case Welcome(stored_through=stored, safe_through=safe):
                    self._batches.forget(self._outbox.welcome(stored, safe))
                case Ack(stored_through=stored, safe_through=safe):
                    self._told = ""
                    self._batches.forget(self._outbox.ack(stored, safe))
                case Error(code=code, text=text):
                    if code in _FINAL:
                        _log.error("the receiver refuses experience", extra=fields(code=code, reason=text))
                        self.refusal = text
                        return
                    raise OSError(text)
            self._wake.set()
        raise OSError("the receiver hung up")

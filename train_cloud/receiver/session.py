"""One bridge's connection, from its Hello to its end: what it says is judged here, what it is told leaves from here.

Outgoing news are coalesced (only the newest Ack, Pace and weights matter), so a slow peer costs nobody else anything.
A peer that breaks the protocol gets an Error and a close code; a batch is acknowledged only after the hub said that it
is committed. The connection itself, and everything shared between bridges, belongs to the server.
"""

import asyncio
import time
from collections import deque
from typing import Final, Protocol

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from experience.codec import Batch, CodecError, Layout, encode_batch
from train_cloud.receiver.writer import Job, Outcome, Result
from wire.delivery import Inbox, Verdict
from wire.frames import FrameError, FrameTooLarge, decode_up, encode_frame, encode_text
from wire.messages import (
    Ack,
    CloseCode,
    DownMessage,
    Error,
    ErrorCode,
    Hello,
    Pace,
    Ping,
    Pong,
    Transition,
    TransitionBatch,
    UpMessage,
)

MAX_PENDING_BYTES: Final = 8 * 2**20
"""Bytes of a bridge's batches that may wait for the disk; beyond it nothing more is read from that bridge."""
RATE_SECONDS: Final = 10.0
"""A bridge may use up the messages of this many seconds at once."""
MAX_UNSAID: Final = 1000
"""Answers that may wait to be sent; a peer that goes on asking without reading its answers is cut off."""
GOODBYE_SECONDS: Final = 10.0
"""A closing connection may take this long to say what is left to say."""
MAX_TEXT: Final = 2000


class Hub(Protocol):
    """What a session needs of the server."""

    layout: Layout

    def submit(self, job: Job) -> None:
        """Give a batch to the writer."""

    def encoded_weights(self, text: bool) -> bytes | str | None:
        """The newest weights as a frame."""


class PeerError(Exception):
    """The peer broke the protocol, or cannot be served: say `code` and `text`, then close with `close`."""

    def __init__(self, code: ErrorCode, text: str, close: int) -> None:
        super().__init__(text)
        self.message = Error(code, text[:MAX_TEXT])
        self.close = close


class RateLimit:
    """Slows a reader down to `per_second` messages, after a burst of RATE_SECONDS of them."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._left = per_second * RATE_SECONDS
        self._at = time.monotonic()

    async def wait(self) -> None:
        """Return when one more message may be read."""
        now = time.monotonic()
        self._left = min(self._rate * RATE_SECONDS, self._left + (now - self._at) * self._rate) - 1.0
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


class Session:
    """The connection of the bridge that said `hello`; `stored` and `safe` are its stream's positions."""

    def __init__(
        self, socket: ServerConnection, hub: Hub, hello: Hello, text: bool, stored: int, safe: int, rate: RateLimit
    ) -> None:
        self.socket, self.hello = socket, hello
        self.stored, self.safe = stored, safe
        self._hub, self._text, self._rate = hub, text, rate
        self._inbox = Inbox(stored)
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._refusing = False
        self._first: deque[DownMessage] = deque()
        self._ack_due = self._weights_due = False
        self._pace: Pace | None = None
        self._close: tuple[int, str] | None = None
        self._wake = asyncio.Event()

    def post(self, message: DownMessage) -> None:
        """Send `message` soon; of several Paces only the newest."""
        if isinstance(message, Pace):
            self._pace = message
        elif len(self._first) < MAX_UNSAID:
            self._first.append(message)
        else:
            self.socket.transport.abort()
        self._wake.set()

    def weights_changed(self) -> None:
        """Send the newest weights soon."""
        self._weights_due = True
        self._wake.set()

    def moved(self, stored: int = 0, safe: int = 0) -> None:
        """The stream's batches through `stored` are committed, through `safe` in the bucket: acknowledge it."""
        self.stored, self.safe = max(self.stored, stored), max(self.safe, safe)
        self._ack_due = True
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what is already to be said, or when that takes longer than GOODBYE_SECONDS."""
        if self._close is None:
            self._close = code, reason
            # A peer that does not read would otherwise hold up its own end for ever.
            asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self.socket.transport.abort)
        self._wake.set()

    def done(self, result: Result) -> None:
        """The writer dealt with a batch that this connection submitted."""
        self._pending_bytes -= len(result.job.blob)
        self._room.set()
        if result.outcome is Outcome.STORED:
            self._refusing = False
            return
        if result.outcome is Outcome.BAD:
            self.refuse(
                PeerError(ErrorCode.BAD_BATCH, f"Batch {result.job.number}: {result.text}", CloseCode.INVALID_DATA)
            )
            return
        # Not stored, and so is nothing that follows: the bridge must begin again after what is.
        self._inbox = Inbox(self.stored)
        if result.outcome is Outcome.NO_ROOM:
            self._refusing = True
            text = f"Batch {result.job.number} could not be stored: {result.text} "
            text += f"Send again from batch {self.stored + 1} in a while; keep the spool."
            self.post(Error(ErrorCode.DISK_FULL, text[:MAX_TEXT]))

    def refuse(self, error: PeerError) -> None:
        """Say what is wrong, then close."""
        self.post(error.message)
        self.close(error.close, error.message.code)

    async def run(self) -> None:
        """Talk until the connection ends."""
        sending = asyncio.create_task(self._send())
        try:
            await self._receive()
        except PeerError as error:
            self.refuse(error)
            await sending
        except ConnectionClosed:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while (frame := self._next_frame()) is not None:
                    await self.socket.send(frame)
                if self._close is not None:
                    await self.socket.close(*self._close)
                    return
        except ConnectionClosed:
            return

    def _next_frame(self) -> bytes | str | None:
        if self._first:
            return self._encode(self._first.popleft())
        if self._ack_due:
            self._ack_due = False
            return self._encode(Ack(self.stored, self.safe))
        if self._pace is not None:
            pace, self._pace = self._pace, None
            return self._encode(pace)
        if self._weights_due:
            self._weights_due = False
            return self._hub.encoded_weights(self._text)
        return None

    def _encode(self, message: DownMessage) -> bytes | str:
        return encode_text(message) if self._text else encode_frame(message)

    async def _receive(self) -> None:
        async for frame in self.socket:
            self._text = isinstance(frame, str)
            if self._close is not None:
                # Already refused: nothing that a broken peer goes on saying is looked at.
                continue
            await self._rate.wait()
            await self._handle(decode_message(frame))

    async def _handle(self, message: UpMessage) -> None:
        match message:
            case Ping(time=at):
                self.post(Pong(at))
            case TransitionBatch(number=number, blob=blob):
                await self._take(number, blob)
            case Transition():
                await self._take(message.number, _batch_of_one(message, self._hub.layout))
            case Hello():
                raise PeerError(
                    ErrorCode.BAD_MESSAGE, "A second Hello on one connection; dial again.", CloseCode.POLICY_VIOLATION
                )

    async def _take(self, number: int, blob: bytes) -> None:
        verdict = self._inbox.judge(number)
        if verdict is Verdict.DUPLICATE:
            self.moved()
        elif verdict is Verdict.OUT_OF_ORDER:
            # After a full disk, what was under way is out of order by our own doing: that was said already.
            if not self._refusing:
                expected = self._inbox.accepted_through + 1
                self.post(
                    Error(
                        ErrorCode.OUT_OF_ORDER,
                        f"Batch {number} came, but batch {expected} is expected; it was not stored. "
                        f"Send from batch {expected}.",
                    )
                )
        else:
            self._inbox.accepted(number)
            self._pending_bytes += len(blob)
            self._hub.submit(Job(self.hello.stream, number, blob, self))
            while self._pending_bytes > MAX_PENDING_BYTES:
                self._room.clear()
                await self._room.wait()


def decode_message(frame: bytes | str) -> UpMessage:
    """The message in a frame; PeerError when it is none."""
    try:
        return decode_up(frame)
    except FrameTooLarge as error:
        raise PeerError(ErrorCode.TOO_LARGE, str(error), CloseCode.TOO_BIG) from None
    except FrameError as error:
        raise PeerError(ErrorCode.BAD_MESSAGE, str(error), CloseCode.INVALID_DATA) from None


def _batch_of_one(step: Transition, layout: Layout) -> bytes:
    """A text client's step as a batch; PeerError when it is not of the layout."""
    try:
        # What float32 cannot hold becomes infinite here, and is refused by the codec like any infinity.
        with np.errstate(over="ignore"):
            batch = Batch(
                layout=layout,
                run_lengths=np.array([1], np.int32),
                run_cars=np.array([0], np.int32),
                run_first_steps=np.array([step.number - 1], np.int64),
                observations=np.array([step.observation, step.next_observation], layout.observation.dtype),
                actions=np.array([step.action], layout.action.dtype),
                rewards=np.array([step.reward], np.float32),
                terminated=np.array([step.terminated]),
                truncated=np.array([step.truncated]),
                policy_versions=np.zeros(1, np.uint32),
                action_ages=np.zeros(1, np.float32),
                late=np.zeros(1, bool),
            )
        return encode_batch(batch)
    except (CodecError, ValueError) as error:
        raise PeerError(ErrorCode.BAD_BATCH, f"Transition {step.number}: {error}", CloseCode.INVALID_DATA) from None

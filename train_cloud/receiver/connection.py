"""One bridge's connection: what is said on it, at what rate it is read, how it ends; a role's handler does the rest.

Outgoing news are coalesced (of each kind only the newest matters), so a slow peer costs nobody else anything. A peer
that breaks the protocol gets an Error and a close code.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final

from websockets.exceptions import ConnectionClosed

from train_cloud.receiver.intake import BoundedConnection
from wire.frames import FrameError, FrameTooLarge, decode_up, encode_frame, encode_text
from wire.messages import CloseCode, DownMessage, Error, ErrorCode, Hello, Ping, Pong, UpMessage

RATE_SECONDS: Final = 10.0
"""A bridge may use up the messages of this many seconds at once."""
SLOW_SECONDS: Final = 0.001
"""After a message that took longer to read, as much time and more belongs to others."""
MAX_UNSAID: Final = 256
"""Answers that may wait to be sent; a peer that goes on asking without reading its answers is cut off."""
GOODBYE_SECONDS: Final = 10.0
"""A closing connection may take this long to say what is left to say."""
MAX_TEXT: Final = 2000


class News(IntEnum):
    """What is said again and again, of which only the newest counts; in the order in which it is sent."""

    ACK = 0
    FLOW_CONTROL = 1
    WEIGHTS = 2
    CONTROLS = 3


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

    async def wait(self, count: int = 1) -> None:
        """Return when one more message, or so many, may be read."""
        now = time.monotonic()
        self._left = min(self._rate * RATE_SECONDS, self._left + (now - self._at) * self._rate) - count
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)


class Connection:
    """The connection of a bridge whose Hello has come; `text` says whether it speaks JSON."""

    def __init__(self, socket: BoundedConnection, text: bool, rate: RateLimit) -> None:
        self.socket = socket
        self._text, self._rate = text, rate
        self._first: deque[DownMessage] = deque()
        self._news: dict[News, Callable[[bool], bytes | None]] = {}
        self._close: tuple[int, str] | None = None
        self._wake = asyncio.Event()

    def post(self, message: DownMessage) -> None:
        """Send `message` soon, after those posted before."""
        if len(self._first) < MAX_UNSAID:
            self._first.append(message)
        else:
            self.socket.transport.abort()
        self._wake.set()

    def tell(self, kind: News, message: Callable[[], DownMessage]) -> None:
        """Send what `message` makes at the time of sending; what was to be told of this kind before is dropped."""
        self.tell_frame(kind, lambda text: _encoded(message(), text))

    def tell_frame(self, kind: News, frame: Callable[[bool], bytes | None]) -> None:
        """As `tell`, for what is a frame already: `frame(text)`; None for nothing to say."""
        self._news[kind] = frame
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what is already to be said, or when that takes longer than GOODBYE_SECONDS."""
        if self._close is None:
            self._close = code, reason
            # A peer that does not read would otherwise hold up its own end for ever.
            asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self.socket.transport.abort)
        self._wake.set()

    def refuse(self, error: PeerError) -> None:
        """Say what is wrong, then close."""
        self.post(error.message)
        self.close(error.close, error.message.code)

    async def refuse_at_once(self, error: PeerError) -> None:
        """Say what is wrong to a peer whose Hello was not taken, and close."""
        await self.socket.say(_encoded(error.message, self._text), self._text)
        await self.socket.close(error.close, error.message.code)

    async def run(self, handle: Callable[[UpMessage], Awaitable[None]]) -> None:
        """Talk until the connection ends; `handle` takes the peer's messages, one by one, and may raise PeerError."""
        sending = asyncio.create_task(self._send())
        try:
            await self._receive(handle)
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
                while self._first or self._news:
                    frame: bytes | None
                    if self._first:
                        frame = _encoded(self._first.popleft(), self._text)
                    else:
                        frame = self._news.pop(min(self._news))(self._text)
                    if frame is not None:
                        await self.socket.say(frame, self._text)
                if self._close is not None:
                    await self.socket.close(*self._close)
                    return
        except ConnectionClosed:
            return

    async def _receive(self, handle: Callable[[UpMessage], Awaitable[None]]) -> None:
        while True:
            frame = await self.socket.next_message()
            self._text = isinstance(frame, str)
            if self._close is not None:
                # Already refused: nothing that a broken peer goes on saying is looked at.
                continue
            await self._rate.wait()
            began = time.thread_time()
            message = decode_message(frame)
            if (took := time.thread_time() - began) > SLOW_SECONDS:
                # Millions of numbers as text take long to read: the others have most of the time.
                await asyncio.sleep(3 * took)
            match message:
                case Ping(time=at):
                    self.post(Pong(at))
                case Hello():
                    again = "A second Hello on one connection; dial again."
                    raise PeerError(ErrorCode.BAD_MESSAGE, again, CloseCode.POLICY_VIOLATION)
                case _:
                    await handle(message)


def decode_message(frame: bytes | str) -> UpMessage:
    """The message in a frame; PeerError when it is none."""
    try:
        return decode_up(frame)
    except FrameTooLarge as error:
        raise PeerError(ErrorCode.TOO_LARGE, str(error), CloseCode.TOO_BIG) from None
    except FrameError as error:
        raise PeerError(ErrorCode.BAD_MESSAGE, str(error), CloseCode.INVALID_DATA) from None


def _encoded(message: DownMessage, text: bool) -> bytes:
    return encode_text(message).encode() if text else encode_frame(message)

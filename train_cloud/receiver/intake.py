"""A bridge's socket, bounded: what a peer can make the receiver hold, by what it sends and by what it does not read.

The websockets library bounds the size of a message and how many frames wait to be read, not bytes: one read may hold
tens of thousands of frames, 16 of the largest may wait, and a pong is written whether the peer reads it or not. Here
every byte counts from its arrival until it is dealt with. Who holds little is read at any time, so that ordinary
bridges never wait for greedy ones; who holds more is read while all of them together leave room.
"""

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import Any, Final

from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import OPEN, Event

from runtime.prompt_frames import PromptConnection
from train_cloud.receiver.answering import AnsweringConnection
from wire.messages import CloseCode

MAX_REQUEST_BYTES: Final = 16 * 2**10
"""Longest upgrade request, before which no token was seen."""
MAX_HELD_BYTES: Final = 12 * 2**20
"""Of one connection: the largest message in the smallest pieces, and one more that waits for the disk."""
MAX_HELD_IN_ALL: Final = 128 * 2**20
LITTLE_BYTES: Final = 512 * 2**10
"""Who holds less is read also when all together hold too much: twice what a bridge sends unacknowledged."""
MAX_UNREAD_BYTES: Final = 256 * 2**10
"""What may wait for a peer that does not read; a frame of ours goes out in pieces that are much smaller."""
MAX_CALLED_BYTES: Final = 32 * 2**20
"""Calls that may wait for a peer that reads slowly: one of the largest for each of eight environments."""
MAX_CONTROL_FRAMES: Final = 200
"""Most pings, pongs and answers to nothing in about a second."""
MAX_SAID_IN_ALL: Final = 64 * 2**20
"""Different frames that slow peers keep from being forgotten: the weights of several versions."""
STALL_SECONDS: Final = 10.0
"""An unfinished message may take up room that others wait for, and wait for room itself, for so long."""
LAST_WORDS_SECONDS: Final = 1.0
KEEPALIVE_SECONDS: Final = 5.0
"""A ping goes out this often, so that also a peer with nothing to say is heard."""

_PIECE_BYTES: Final = 4 * 2**10
"""What came is taken apart in pieces of this size, so that no more frames than one holds come unasked."""
_SAID_BYTES: Final = 64 * 2**10
"""A larger frame is sent in pieces of this size, so that what waits for a slow peer is no copy of it all."""
_ENCRYPTED_BYTES: Final = 64 * 2**10
_FRAME_BYTES: Final = 512
"""What a frame costs beside its content."""
_TOO_LONG: Final = f"A request has at most {MAX_REQUEST_BYTES} bytes here.\n"


class Memory:
    """What all connections hold together, and who waits for room in it."""

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[BoundedConnection, float] = {}
        """Connections that are not read now, the longest waiting first, and since when (monotonic, s)."""
        self.said: dict[BoundedConnection, bytes] = {}
        """Large frames under way, the oldest first."""
        self._waking, self._next_end = False, 0.0

    @property
    def has_room(self) -> bool:
        """Whether who holds more than LITTLE_BYTES may go on."""
        return self.held < MAX_HELD_IN_ALL

    def add(self, size: int) -> None:
        """So many bytes more are held; when it is fewer, who waits goes on."""
        self.held += size
        if size >= 0 or self._waking:
            return
        self._waking = True
        for connection in list(self.waiting):
            if not self.has_room:
                break
            connection.go_on()
        self._waking = False

    def say(self, connection: "BoundedConnection", frame: bytes) -> None:
        """A large frame is under way to `connection`; who takes the oldest too slowly is let go."""
        self.said[connection] = frame
        while sum(map(len, {id(one): one for one in self.said.values()}.values())) > MAX_SAID_IN_ALL:
            slowest = next(iter(self.said))
            if slowest is connection:
                return
            del self.said[slowest]
            slowest.let_go(CloseCode.TRY_AGAIN_LATER, "it takes what it is told too slowly")

    def make_room(self) -> None:
        """While there is no room, let go who has waited longest with an unfinished message, one after another."""
        now = time.monotonic()
        if self.has_room or now < self._next_end:
            return
        for connection, since in self.waiting.items():
            if now - since > STALL_SECONDS and connection.holds_unfinished:
                # Its memory is free when its last words are said.
                self._next_end = now + 2 * LAST_WORDS_SECONDS
                text = f"no memory left for a message of {connection.held >> 10} KiB that does not end"
                connection.let_go(CloseCode.TRY_AGAIN_LATER, text)
                return


class BoundedConnection(PromptConnection, AnsweringConnection):
    """A server's connection that counts what it holds, and knows when it was heard last.

    The websockets library's own keepalive waits for room in the send buffer before it counts any time, so it never
    notices a peer that vanished while much was to be sent to it. Here any byte counts as a sign of life and nothing is
    waited for: who is silent for too long is cut off, whatever is still to be sent.
    """

    def __init__(self, *arguments: Any, memory: Memory, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.held = 0
        """Bytes received, with what Python needs to hold them, that are not dealt with."""
        self.silence_seconds = float("inf")
        """Who is not heard for so long is let go by `watch`."""
        self.let_go_for: str | None = None
        """Why the connection was ended from this side, for the log; None when it was not."""
        self._memory, self._raw = memory, memoryview(b"")
        self._request_bytes = self._control_frames = self._called_bytes = 0
        self._unfinished = self._queued = self._in_hand = self._pending = 0
        self._sizes: deque[int] = deque()
        """Of the messages that wait to be read."""
        self._serving = self._over = False
        self._heard = time.monotonic()

    @property
    def holds_unfinished(self) -> bool:
        """Whether all that it holds is a message whose end has not come, and that is not little."""
        waiting = self._queued or self._in_hand or self._pending
        return not waiting and self._unfinished + len(self.protocol.reader.buffer) > LITTLE_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over from the library when to read on."""
        super().connection_made(transport)
        if (limit := getattr(transport, "set_read_buffer_limits", None)) is not None:
            # Encrypted bytes wait there while nothing is read; by default 512 KiB of them.
            limit(_ENCRYPTED_BYTES)
        self.recv_messages.pause = lambda: None
        self.recv_messages.resume = lambda: self.loop.call_soon(self.go_on)

    def data_received(self, data: bytes) -> None:
        """Take in what came, as far as there is room; nothing is held of a message that is handed on at once."""
        self._heard = time.monotonic()
        if self._over or self.let_go_for is not None or self.transport.is_closing():
            return
        if not self._raw and self.took(data):
            self._hold_to_limits()
        else:
            self._raw = memoryview(bytes(self._raw) + data if self._raw else data)
            self.go_on()

    def go_on(self) -> None:
        """Take in what has come, as far as there is room, and read on if that is all of it."""
        if self._over or self.transport.is_closing():
            return
        while self._raw and self._may_go_on():
            piece, self._raw = self._raw[:_PIECE_BYTES], self._raw[_PIECE_BYTES:]
            super().data_received(piece)  # type: ignore[arg-type]  # any buffer will do
            self._settle()
            if self.request is None:
                self._request_bytes += len(piece)
                if self._request_bytes > MAX_REQUEST_BYTES:
                    self.refuse_request(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LONG)
                    return
            self._hold_to_limits()
        self._settle()
        if self._raw or (self._serving and not self._may_go_on()):
            self._memory.waiting.setdefault(self, time.monotonic())
            self.transport.pause_reading()
        else:
            self._memory.waiting.pop(self, None)
            self.transport.resume_reading()

    def _hold_to_limits(self) -> None:
        if self._control_frames > MAX_CONTROL_FRAMES:
            text = f"more than {MAX_CONTROL_FRAMES} pings, pongs or answers to nothing a second"
            self.let_go(CloseCode.POLICY_VIOLATION, text)
        elif (unread := self.transport.get_write_buffer_size()) <= MAX_UNREAD_BYTES:
            self._called_bytes = 0
        elif unread > MAX_UNREAD_BYTES + self._called_bytes:
            self.let_go(CloseCode.POLICY_VIOLATION, "what it asked for is not read")

    def process_event(self, event: Event) -> None:
        """Count a frame, then do what the library does; nothing is held of what is handed on at once."""
        if self.handed_on(event):
            return
        if isinstance(event, Frame) and self.request is not None:
            if event.opcode in DATA_OPCODES:
                self._unfinished += len(event.data) + _FRAME_BYTES
                if event.fin:
                    self._sizes.append(self._unfinished)
                    self._queued, self._unfinished = self._queued + self._unfinished, 0
            else:
                self.count_unasked()
        super().process_event(event)

    def begin(self) -> None:
        """The peer has shown the token: serve it until `end`."""
        self._serving = True
        self.go_on()

    async def next_message(self) -> bytes | str:
        """The content of the next message; the one before is dealt with. Raises ConnectionClosed."""
        self._in_hand = 0
        self._settle()
        message = await self.recv()
        self._in_hand = self._sizes.popleft()
        self._queued -= self._in_hand
        return message

    async def say(self, frame: bytes, text: bool) -> None:
        """Send a frame, a large one in pieces. Raises ConnectionClosed."""
        if len(frame) <= _SAID_BYTES:
            await self.send(frame, text=text)
            return
        whole = memoryview(frame)
        self._memory.say(self, frame)
        try:
            await self.send((whole[at : at + _SAID_BYTES] for at in range(0, len(frame), _SAID_BYTES)), text=text)
        finally:
            self._memory.said.pop(self, None)

    def call(self, frame: bytes) -> None:
        """Send now what this side asks of the peer, who may be slow to read it."""
        self._called_bytes += len(frame)
        if self._called_bytes > MAX_CALLED_BYTES < self.transport.get_write_buffer_size():
            self.let_go(CloseCode.TRY_AGAIN_LATER, "what it is asked is not read")
        self.send_now(frame)

    def count_unasked(self) -> None:
        """One message more came that nobody asked for."""
        self._control_frames += 1

    def hold(self, size: int) -> None:
        """So many bytes more (or fewer, when negative) of what it sent wait for the disk."""
        self._pending += size
        self._settle()

    def let_go(self, code: int, reason: str) -> None:
        """Say `reason`, and end the connection soon, whether the peer reads that or not."""
        if self.let_go_for is None:
            self.let_go_for, self._raw = reason, memoryview(b"")
            self.protocol.fail(code, reason)
            self.send_data()
            self.loop.call_later(LAST_WORDS_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was not taken in is lost."""
        self._raw = memoryview(b"")
        self._memory.waiting.pop(self, None)
        super().connection_lost(exc)
        if not self._serving:
            self.end()

    def end(self) -> None:
        """Nothing more of it is read; what waits for the disk still counts."""
        self._over, self._raw = True, memoryview(b"")
        self._unfinished = self._queued = self._in_hand = 0
        self._settle()

    async def watch(self, seconds: float) -> None:
        """Ping, and cut the connection off once nothing was heard for `seconds`, or for `silence_seconds` if less.

        Runs until it is cancelled.
        """
        pinged = time.monotonic()
        while True:
            now = time.monotonic()
            # A peer that suffers little silence must hear something, too, while what it sends takes long to come.
            next_ping = pinged + min(KEEPALIVE_SECONDS, self.silence_seconds / 4)
            self._control_frames = 0
            # While we do not read, because the disk or the rate limit holds us up, the silence is our own.
            if not self.transport.is_reading():
                self._heard = now
            left = self._heard + min(seconds, self.silence_seconds) - now
            if left <= 0:
                self.let_go_for = self.let_go_for or "it was not heard any more"
                self.transport.abort()
                return
            if now >= next_ping and self.protocol.state is OPEN:
                pinged = now
                self.protocol.send_ping(b"")
                self.send_data()
            await asyncio.sleep(max(0.01, min(left, next_ping - now, 1.0)))

    def _may_go_on(self) -> bool:
        if self.let_go_for is not None:
            return True
        if self.request is not None and not self._serving and not self.protocol.eof_sent:
            # Its token was not looked at yet.
            return False
        taken_in = self.held - len(self._raw)
        if self.recv_messages.paused or taken_in >= MAX_HELD_BYTES:
            return False
        return taken_in < LITTLE_BYTES or self._memory.has_room

    def _settle(self) -> None:
        """Bring the count to what is held now."""
        taken_in = 0 if self._over else len(self._raw) + len(self.protocol.reader.buffer)
        held = taken_in + self._unfinished + self._queued + self._in_hand + self._pending
        change, self.held = held - self.held, held
        self._memory.add(change)
        if change < 0 and self in self._memory.waiting:
            self.loop.call_soon(self.go_on)

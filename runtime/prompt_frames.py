"""Frames of a websockets connection without tasks and queues: for one call at a time, whose answer somebody waits for.

A task that is woken costs more than all else that is done to a small frame, and the library's way of a frame through
itself more than what is then done with it. So a frame that is a whole message, and comes in one piece, is written and
read here; what is anything else is the library's.
"""

import os
import struct
from collections.abc import Callable
from typing import Any

from websockets.asyncio.connection import Connection
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Event, Protocol, State
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_WHOLE = 0x80 | Opcode.BINARY
"""First byte of the only frame of a binary message."""
_MASKED = 0x80


class PromptConnection(Connection):
    """A connection that hands each whole binary message to `on_message` as it arrives, once that is set."""

    on_message: Callable[[bytes], None] | None = None

    def data_received(self, data: bytes) -> None:
        """Hand a message on, or do what the library does."""
        if not self.took(data):
            super().data_received(data)

    def took(self, data: bytes) -> bool:
        """Hand on the message that is all that has come, if it is one and somebody takes it."""
        if self.on_message is None or (message := message_in(data, self.protocol)) is None:
            return False
        self.on_message(message)
        return True

    def process_event(self, event: Event) -> None:
        """Hand a message on, or do what the library does."""
        if not self.handed_on(event):
            super().process_event(event)

    def handed_on(self, event: Event) -> bool:
        """Hand `event` on, if it is a whole binary message that somebody takes."""
        if self.on_message is None or not (isinstance(event, Frame) and event.opcode is Opcode.BINARY and event.fin):
            return False
        self.on_message(bytes(event.data))
        return True

    def send_now(self, message: bytes) -> None:
        """Send a whole binary message from the event loop; nothing happens on a connection that is not open.

        What the peer does not read piles up: it is for who has one message under way at a time.
        """
        if self.protocol.state is State.OPEN and self.send_in_progress is None:
            self.transport.write(frame_of(message, self.protocol))


def frame_of(message: bytes, protocol: Protocol) -> bytes:
    """A whole binary message as what an open connection's side sends, between two messages."""
    length, masked = len(message), _MASKED if protocol.side is CLIENT else 0
    if length < 126:
        head = struct.pack("!BB", _WHOLE, masked | length)
    elif length < 2**16:
        head = struct.pack("!BBH", _WHOLE, masked | 126, length)
    else:
        head = struct.pack("!BBQ", _WHOLE, masked | 127, length)
    if not masked:
        return head + message
    mask = os.urandom(4)
    return head + mask + apply_mask(message, mask)


def message_in(data: bytes, protocol: Any) -> bytes | None:
    """The message, where what has come is a whole one and nothing else; None where the library is to see to it.

    How large it may be is not asked: it has come already, in one read.
    """
    if len(data) < 6 or data[0] != _WHOLE or protocol.state is not State.OPEN or not _between_frames(protocol):
        return None
    masked, length, begin = data[1] & _MASKED, data[1] & 0x7F, 2
    if length == 126:
        length, begin = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, begin = int.from_bytes(data[2:10], "big"), 10
    begin += 4 if masked else 0
    if len(data) != begin + length or (masked == 0) is not (protocol.side is CLIENT):
        return None
    return apply_mask(data[begin:], data[begin - 4 : begin]) if masked else bytes(data[begin:])


def _between_frames(protocol: Any) -> bool:
    """Whether the library's parser waits for the beginning of a frame; False also where that cannot be told."""
    waits = protocol.parser
    while (inner := waits.gi_yieldfrom) is not None:
        waits = inner
    return waits.gi_code is StreamReader.at_eof.__code__ and not protocol.reader.buffer

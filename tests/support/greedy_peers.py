"""Peers with the right token that make a receiver hold as much as they can, over sockets of their own.

They speak WebSocket by hand: a library would keep its rules.
"""

import asyncio
import os
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from wire.frames import encode_frame, encode_text
from wire.messages import MAX_UP_FRAME_BYTES, PROTOCOL, Hello, Ping, TransitionBatch
from wire.pairing import Pairing, basic_auth_header

BINARY, CONTINUED, PING = 2, 0, 9


def frame(opcode: int, content: bytes, final: bool = True) -> bytes:
    """A client's frame, masked by zeros."""
    return head(opcode, len(content), final) + content


def head(opcode: int, size: int, final: bool = True) -> bytes:
    """What stands before a frame's content of `size` bytes."""
    first = struct.pack("!B", opcode | (0x80 if final else 0))
    if size < 126:
        return first + struct.pack("!B", 0x80 | size) + bytes(4)
    return first + struct.pack("!BQ", 0x80 | 127, size) + bytes(4)


@dataclass
class Peer:
    """A connection whose answers are read only when somebody asks for them."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        """Send, as fast as it is taken."""
        if self.reader.exception() or self.reader.at_eof() or self.writer.transport.is_closing():
            raise ConnectionResetError("the receiver has hung up")
        self.writer.write(data)
        await self.writer.drain()
        # drain waits for nothing when there is room, and then the end of a connection is never noticed.
        await asyncio.sleep(0)

    async def begin(self, hello: Hello, text: bool = False) -> None:
        """Say Hello and wait for the Welcome."""
        await self.say(frame(1, encode_text(hello).encode()) if text else frame(BINARY, encode_frame(hello)))
        await self._message()

    async def _message(self) -> bytes:
        content = bytearray()
        while True:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            piece = await self.reader.readexactly(size)
            if first & 0x0F < 8:
                content += piece
                if first & 0x80:
                    return bytes(content)


Attack: TypeAlias = Callable[[Peer, Hello], Awaitable[None]]


@asynccontextmanager
async def connected(pairing: Pairing) -> AsyncIterator[Peer]:
    """A WebSocket that has said nothing yet; what comes over it is not read beyond a few KiB."""
    async with called(pairing) as peer:
        key = b64encode(os.urandom(16)).decode()
        request = (
            f"GET / HTTP/1.1\r\nHost: {pairing.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
            f"Authorization: {basic_auth_header(pairing.token)}\r\n\r\n"
        )
        await peer.say(request.encode())
        answer = await peer.reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield peer


@asynccontextmanager
async def called(pairing: Pairing) -> AsyncIterator[Peer]:
    """A connection, encrypted where the receiver wants that, over which nothing was said."""
    context = None
    if pairing.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", pairing.port, ssl=context, limit=4096)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def unfinished_frame(peer: Peer, hello: Hello) -> None:
    """Send all but the last byte of the largest frame."""
    await peer.begin(hello)
    await peer.say(head(BINARY, MAX_UP_FRAME_BYTES))
    for _ in range(MAX_UP_FRAME_BYTES // 65_536 - 1):
        await peer.say(bytes(65_536))
    await _trickle(peer)


async def unfinished_message(peer: Peer, hello: Hello) -> None:
    """Send a message in pieces and never its last one, with a sign of life now and then."""
    await peer.begin(hello)
    await peer.say(frame(BINARY, b"", final=False))
    for _ in range(90):
        await peer.say(frame(CONTINUED, bytes(65_536), final=False))
    while True:
        await asyncio.sleep(1.0)
        await peer.say(frame(PING, b""))


async def unread_pongs(peer: Peer, hello: Hello) -> None:
    """Send pings as fast as they are taken and read no answer."""
    await peer.begin(hello)
    while True:
        await peer.say(frame(PING, bytes(125)) * 500)


async def unread_answers(peer: Peer, hello: Hello) -> None:
    """Ask as a text client, and read no answer."""
    await peer.begin(hello, text=True)
    while True:
        await peer.say(frame(1, encode_text(Ping(1.0)).encode()) * 500)


async def tiny_pieces(peer: Peer, hello: Hello) -> None:
    """Send a message in pieces of nothing."""
    await peer.begin(hello)
    await peer.say(frame(BINARY, b"", final=False))
    while True:
        await peer.say(frame(CONTINUED, b"", final=False) * 10_000)


async def endless_hello(peer: Peer, _: Hello) -> None:
    """Begin the largest Hello, and go on with pings."""
    await peer.say(head(BINARY, 500_000))
    await peer.say(bytes(499_999))
    await _trickle(peer)


async def silent_reader(peer: Peer, hello: Hello) -> None:
    """Be there, and read nothing of what is told, weights above all."""
    await peer.begin(hello)
    while True:
        await asyncio.sleep(1.0)
        await peer.say(frame(PING, b""))


async def _trickle(peer: Peer) -> None:
    while True:
        await asyncio.sleep(5.0)
        # As the rest of a message, this never ends it.
        await peer.say(b"")


def big_batches(blob: bytes) -> Attack:
    """A peer that sends valid batches as fast as they are taken, and reads no acknowledgement."""

    async def send(peer: Peer, hello: Hello) -> None:
        await peer.begin(hello)
        number = 1
        while True:
            await peer.say(frame(BINARY, encode_frame(TransitionBatch(number, blob))))
            number += 1

    return send


GREEDY = (
    unfinished_frame,
    unfinished_message,
    unread_pongs,
    unread_answers,
    tiny_pieces,
    endless_hello,
    silent_reader,
)

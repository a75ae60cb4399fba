"""What a receiver, or who stands in its place, can make a bridge hold is bounded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bridge.link import dialing
from bridge.link.dialing import LinkConnection, dial
from tests.support.wire_server import TOKEN
from wire.messages import MAX_DOWN_FRAME_BYTES, PROTOCOL
from wire.pairing import Pairing


async def met(
    receiver: Callable[[ServerConnection], Awaitable[None]], bridge: Callable[[LinkConnection], Awaitable[None]]
) -> None:
    """A bridge's connection to a receiver that behaves like this."""
    server = await serve(
        receiver, "127.0.0.1", 0, subprotocols=[Subprotocol(PROTOCOL)], compression=None, close_timeout=0.1
    )
    port = server.sockets[0].getsockname()[1]
    connection = await dial(Pairing("127.0.0.1", port, TOKEN, tls=False))
    try:
        await asyncio.wait_for(bridge(connection), 60)
    finally:
        connection.transport.abort()
        server.close()
        await server.wait_closed()


def test_a_receiver_that_pings_and_reads_no_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "MAX_UNREAD_BYTES", 2**18)

    async def nag(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        while not connection.transport.is_closing():
            for _ in range(500):
                connection.protocol.send_ping(bytes(125))
            connection.send_data()
            await connection.drain()
            await asyncio.sleep(0)

    async def hear(connection: LinkConnection) -> None:
        with pytest.raises(ConnectionClosed) as ended:
            await connection.recv()
        assert "does not read" in str(ended.value.__cause__)

    asyncio.run(met(nag, hear))


def test_no_more_than_one_message_waits_to_be_looked_at() -> None:
    async def flood(connection: ServerConnection) -> None:
        while True:
            await connection.send(bytes(MAX_DOWN_FRAME_BYTES))

    async def look_on(connection: LinkConnection) -> None:
        while not len(connection.recv_messages.frames):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(connection.recv_messages.frames) == 1
        assert len(connection.protocol.reader.buffer) < 2**20
        assert len(await connection.recv()) == MAX_DOWN_FRAME_BYTES
        assert len(await connection.recv()) == MAX_DOWN_FRAME_BYTES

    asyncio.run(met(flood, look_on))

"""Sends a frame over a websockets connection at once, from the event loop, without a task and without waiting."""

from websockets.asyncio.connection import Connection
from websockets.protocol import State


def send_now(connection: Connection, frame: bytes) -> None:
    """Send a whole binary message; nothing happens on a connection that is not open.

    What the peer does not read piles up: it is for who has one message under way at a time, as a call or its answer is.
    """
    if connection.state is State.OPEN and connection.send_in_progress is None:
        connection.protocol.send_binary(frame)
        connection.send_data()

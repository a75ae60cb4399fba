"""Frames of a websockets connection without tasks and queues: for one call at a time, whose answer somebody waits for.

A task that is woken costs more than all else that is done to a small frame.
"""

from collections.abc import Callable

from websockets.asyncio.connection import Connection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State


class PromptConnection(Connection):
    """A connection that hands each whole binary message to `on_message` as it arrives, once that is set."""

    on_message: Callable[[bytes], None] | None = None

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
        if self.state is State.OPEN and self.send_in_progress is None:
            self.protocol.send_binary(message)
            self.send_data()

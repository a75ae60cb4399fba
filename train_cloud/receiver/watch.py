"""Connections that know when their peer was last heard, and the watch that lets go of those gone silent.

The websockets library's own keepalive waits for room in the send buffer before it counts any time, so it never
notices a peer that vanished while much was to be sent to it. Here any byte counts as a sign of life and nothing is
waited for: who is silent for too long is cut off, whatever is still to be sent.
"""

import asyncio
import time

from websockets.asyncio.server import ServerConnection


class HeardConnection(ServerConnection):
    """A server's connection with `heard`, the monotonic time (s) at which bytes came last."""

    heard = float("-inf")
    gone_silent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A new connection counts as heard."""
        self.heard = time.monotonic()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Note the time, then do what the library does."""
        self.heard = time.monotonic()
        super().data_received(data)

    async def watch(self, seconds: float) -> None:
        """Cut the connection off once nothing was heard for `seconds`; runs until it is cancelled."""
        while True:
            # While we do not read, because the disk or the rate limit holds us up, the silence is our own.
            if not self.transport.is_reading():
                self.heard = time.monotonic()
            left = self.heard + seconds - time.monotonic()
            if left <= 0:
                self.gone_silent = True
                self.transport.abort()
                return
            await asyncio.sleep(min(left, 1.0))

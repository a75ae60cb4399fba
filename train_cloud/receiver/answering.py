"""A server's connection that answers everybody, also what is no request, or does not become one in time.

The websockets library hangs up on those without a word.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage

_NOT_READ: Final = "This is no request that is answered here: those are a GET or HEAD in HTTP/1.1, without a body.\n"


class AnsweringConnection(ServerConnection):
    """Says what is wrong with a request before it hangs up."""

    _told = False

    async def handshake(self, *arguments: Any, **options: Any) -> None:
        """As the library's, which is cancelled when it takes too long; whose request never came whole is told so."""
        try:
            await super().handshake(*arguments, **options)
        except asyncio.CancelledError:
            if self.request is None and self.protocol.handshake_exc is None:
                self._tell(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.\n")
            raise

    def send_data(self) -> None:
        """As the library's; what cannot be read is answered before it hangs up."""
        if isinstance(self.protocol.handshake_exc, InvalidMessage) and not self._told:
            self._tell(HTTPStatus.BAD_REQUEST, _NOT_READ)
        super().send_data()

    def refuse_request(self, status: HTTPStatus, text: str) -> None:
        """Answer a request that is not whole, unless that is done, and hang up."""
        if not self._told and self.protocol.handshake_exc is None:
            self._tell(status, text)
        self.transport.close()

    def _tell(self, status: HTTPStatus, text: str) -> None:
        self._told = True
        self.transport.write(self.respond(status, text).serialize())

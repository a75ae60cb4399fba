"""The listening socket: who waits at it without having shown a token is bounded, and so are open files.

A new connection is always let in; where too many wait already, the one that has waited longest makes room, of the same
address when that has its share, else of the address with the most. So whoever holds the right token gets through, even
when strangers dial without end: it needs a fraction of a second, and nobody else's place.
"""

import asyncio
import errno
import logging
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from runtime.logs import fields
from train_cloud.throttle import network_of

RESERVED_FILES: Final = 64
"""File handles that connections leave to the store and the backup."""
SAY_AGAIN_SECONDS: Final = 60.0
REST_SECONDS: Final = 0.5
"""Without a free file handle nobody is let in for so long; asyncio asks again after a second."""
OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)

_log = logging.getLogger(__name__)


class Door(socket.socket):
    """Listens at `host` and `port`; raises OSError when it cannot.

    Of those that wait, an address has at most `of_one_address`, and all have twice that.
    """

    def __init__(self, host: str, port: int, of_one_address: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name with addresses of both kinds, like localhost, is listened for at the one that everybody can dial.
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        super().__init__(family, kind, protocol)
        self._most = of_one_address
        self._waiting: dict[int, tuple[socket.socket, str]] = {}
        """By file handle, the longest waiting first, with the address."""
        self._let_in: dict[int, socket.socket] = {}
        self._leaving: dict[int, socket.socket] = {}
        """Cut off, and not closed yet."""
        self._rest_until = 0.0
        self._turned_away: Counter[str] = Counter()
        self._say_at = 0.0
        try:
            if sys.platform != "win32":
                self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # All of this machine's addresses are those of IPv4, too.
                self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
            self.bind(address)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; asyncio asks until BlockingIOError."""
        if time.monotonic() < self._rest_until:
            raise BlockingIOError
        self._forget_closed()
        full = len(self._waiting) + len(self._let_in) + len(self._leaving) >= _file_limit() - RESERVED_FILES
        if (full or len(self._waiting) >= 2 * self._most) and (self._waiting or self._leaving):
            if not self._leaving:
                self._make_room(None, "file handles run out" if full else "too many wait without a token")
            # The event loop closes it now, and asks again.
            raise BlockingIOError
        try:
            caller, address = super().accept()
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                self._rest_until = time.monotonic() + REST_SECONDS
                self._make_room(None, "no file handle was free")
            raise
        if full:
            caller.close()
            self._make_room(None, "bridges have all file handles")
            raise ConnectionAbortedError
        network = network_of(str(address[0]))
        if sum(other == network for _, other in self._waiting.values()) >= self._most:
            self._make_room(network, "too many of one address wait without a token")
        self._waiting[caller.fileno()] = caller, network
        return caller, address

    def let_in(self, handle: int) -> None:
        """The connection with this file handle has shown the token."""
        if (found := self._waiting.pop(handle, None)) is not None:
            self._let_in[handle] = found[0]

    def _forget_closed(self) -> None:
        self._waiting = {handle: one for handle, one in self._waiting.items() if one[0].fileno() == handle}
        self._let_in = {handle: one for handle, one in self._let_in.items() if one.fileno() == handle}
        self._leaving = {handle: one for handle, one in self._leaving.items() if one.fileno() == handle}

    def _make_room(self, network: str | None, why: str) -> None:
        """Let go who has waited longest, of `network` or of the address with the most; say so once a minute."""
        if network is None and self._waiting:
            network = Counter(other for _, other in self._waiting.values()).most_common(1)[0][0]
        handle = next((handle for handle, (_, other) in self._waiting.items() if other == network), None)
        if handle is not None:
            leaving = self._leaving[handle] = self._waiting.pop(handle)[0]
            # It stays asyncio's, which sees the end and closes it.
            with suppress(OSError):
                leaving.shutdown(socket.SHUT_RDWR)
        self._turned_away[why] += 1
        if time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + SAY_AGAIN_SECONDS
            text = "connections were cut off to make room; bridges with the token dial again"
            counts = "; ".join(f"{count} because {why}" for why, count in self._turned_away.items())
            _log.warning(text, extra=fields(reason=counts, waiting=len(self._waiting), let_in=len(self._let_in)))
            self._turned_away.clear()


def _file_limit() -> int:
    """How many files this process may have open."""
    if sys.platform == "win32":
        return 2**16
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The door says once a minute that no file handle is free; asyncio would a hundred times a second, at length."""
    if getattr(context.get("exception"), "errno", None) not in OUT_OF_FILES:
        loop.default_exception_handler(context)


def quiet_logger() -> logging.Logger:
    """The websockets library's own log would let any stranger fill ours; what matters is logged here."""
    logger = logging.getLogger("train_cloud.receiver.websocket")
    logger.setLevel(logging.CRITICAL)
    return logger

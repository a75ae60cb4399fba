"""The dashboard as a server: it binds first, serves until it is told to stop, and then lets everybody go at once."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from runtime.logs import fields
from train_cloud import notify
from train_cloud.dashboard.app import STATIC, Pages
from train_cloud.dashboard.live import Live
from train_cloud.dashboard.reading import Reading
from train_cloud.dashboard.sessions import Sessions, cookie_name
from wire.pairing import is_loopback

CONNECTIONS: Final = 200
"""At once; more are answered 503."""
LARGEST_HEAD: Final = 16 * 2**10
"""Bytes of a request's head."""
END_SECONDS: Final = 3.0
"""After that, whoever has not let go is cut off."""
ALIVE_SECONDS: Final = 1.0
ASK_SECONDS: Final = 10.0
"""A connection on which nobody has asked for so long, or not to the end, is cut: others may want its place."""

_log = logging.getLogger(__name__)


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that holds no connection for who does not ask; the server itself only ends those that have asked."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent says
        """Begin to look whether requests come."""
        super().connection_made(transport)
        self._look_again = self.loop.call_later(ASK_SECONDS, self._look, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._look_again.cancel()
        super().connection_lost(exc)

    def _look(self, before: object) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self.cycle is before:
            self.transport.abort()
            return
        self._look_again = self.loop.call_later(ASK_SECONDS, self._look, self.cycle)


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound there. Raises OSError with a sentence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As the receiver has it: all of this machine's addresses are those of IPv4, too.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        text = f"The dashboard cannot listen on {host}:{port} ({error.strerror}). Name another port: --listen-port 0."
        raise OSError(text) from error
    return listening


async def serve(
    reading: Reading,
    token: str,
    listening: socket.socket,
    context: ssl.SSLContext | None,
    host: str,
    stop: threading.Event,
    on_ready: Callable[[str], None],
    static: Path = STATIC,
) -> None:
    """Serve on the socket until `stop`, by TLS with `context`.

    `on_ready` gets the page's address, where `host` is the name of this machine.
    """
    address, port = listening.getsockname()[:2]
    secure = context is not None
    executor = ThreadPoolExecutor(1, "reading")
    live = Live(reading, executor)
    pages = Pages(reading, live, Sessions(token, cookie_name(port, secure)), executor, secure, static)
    hosts = frozenset({host.lower()}) if is_loopback(address) else None
    config = uvicorn.Config(
        pages.app(hosts),
        loop="asyncio",
        http=PromptProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Who is behind a proxy must not choose whose failures are counted.
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_graceful_shutdown=round(END_SECONDS),
    )
    server = uvicorn.Server(config)
    config.load()
    # Its own would read the certificate once and for all.
    config.ssl = context
    serving = asyncio.create_task(server.serve([listening]))
    try:
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        if server.started:
            name = f"[{host}]" if ":" in host else host
            on_ready(f"{'https' if secure else 'http'}://{name}:{port}/")
        alive = 0.0
        while not (stop.is_set() or server.should_exit or serving.done()):
            if (now := asyncio.get_running_loop().time()) - alive >= ALIVE_SECONDS:
                notify.alive()
                alive = now
            await asyncio.sleep(0.05)
    finally:
        server.should_exit = True
        await live.close()
        await serving
        await asyncio.get_running_loop().run_in_executor(executor, reading.close)
        executor.shutdown()
    _log.info("ended", extra=fields(listeners=live.listeners))

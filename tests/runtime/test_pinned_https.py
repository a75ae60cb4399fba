"""A question over TLS, to real servers: a pinned one, a stranger, and one without TLS."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime import pinned_https
from tests.support.certificates import certificate
from wire.pairing import PinMismatch, check_pin

SECRET = {"Authorization": "a secret"}


class Server(ThreadingHTTPServer):
    """Keeps the secrets that it was told."""

    heard: list[str | None]


class Handler(BaseHTTPRequestHandler):
    """Answers every path with it."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.heard.append(self.headers["Authorization"])
        body = f"you asked {self.path}".encode()
        self.send_response(200 if self.path == "/there" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.heard = []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_pinned_server_is_asked(tmp_path: Path) -> None:
    context, pin = certificate(tmp_path, "ours")
    with serving(context) as server:
        ask = partial(pinned_https.get, "127.0.0.1", server.server_port)
        check = partial(check_pin, pin=pin)
        assert ask("/there", SECRET, 5.0, check) == (200, "you asked /there")
        assert ask("/elsewhere", {}, 5.0, check) == (404, "you asked /elsewhere")
        assert server.heard == ["a secret", None]


def test_a_stranger_hears_nothing(tmp_path: Path) -> None:
    (context, _), (_, pin) = certificate(tmp_path, "stranger"), certificate(tmp_path, "ours")
    with serving(context) as server:
        with pytest.raises(PinMismatch):
            pinned_https.get("127.0.0.1", server.server_port, "/there", SECRET, 5.0, partial(check_pin, pin=pin))
        with pytest.raises(ssl.SSLCertVerificationError):
            pinned_https.get("127.0.0.1", server.server_port, "/there", SECRET, 5.0)
        assert server.heard == []


def test_without_tls_it_is_plain_http() -> None:
    with serving() as server:
        port = server.server_port
        assert pinned_https.get("127.0.0.1", port, "/there", {}, 5.0, tls=False) == (200, "you asked /there")
        with pytest.raises(OSError, match="SSL"):
            pinned_https.get("127.0.0.1", port, "/there", SECRET, 5.0)
    with pytest.raises(ConnectionRefusedError):
        pinned_https.get("127.0.0.1", port, "/there", SECRET, 5.0)


def test_who_has_not_met_an_authority_is_told_where_to_meet_it() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    assert "open https://racing.example.org:8765 in Edge" in pinned_https.untrusted("racing.example.org", 8765, error)

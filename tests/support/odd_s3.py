"""A small S3 server over TLS with bad manners, each of which a real server has; import the fixture `odd` from here.

It keeps objects in memory and knows what a run asks for: put, get, head, delete, in path style.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest

from tests.support.certificates import certificate
from train_cloud.run_config import BucketConfig


class Reply(NamedTuple):
    """What every request gets; HERE in a header is the request's own URL."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}

    @classmethod
    def error(cls, status: int, code: str, more: str = "", **headers: str) -> "Reply":
        """An error as S3 tells it."""
        return cls(status, f"<Error><Code>{code}</Code><Message>No.</Message>{more}</Error>".encode(), headers)

    @classmethod
    def page(cls, status: int, **headers: str) -> "Reply":
        """A web page."""
        return cls(status, b"<html><body>Sign in<br></body></html>", {"Content-Type": "text/html"} | headers)


class _Handler(BaseHTTPRequestHandler):
    """One connection; the server's `manners` say what goes wrong."""

    protocol_version = "HTTP/1.1"
    manners: ClassVar[set[str]]
    objects: ClassVar[dict[str, tuple[bytes, str]]]
    requests: ClassVar[list[str]]
    replies: ClassVar[list[Reply]]

    def parse_request(self) -> bool:
        """Give the reply that every request gets, if there is one, instead of what the request asks for."""
        if not super().parse_request():
            return False
        if not self.replies:
            return True
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(f"{self.command} {self.path}")
        reply = self.replies[-1]
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/xml", **reply.headers}.items():
            self.send_header(name, value.replace("HERE", f"https://{self.headers['Host']}{self.path}"))
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        return False

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(f"PUT {self.path}")
        kept = self.objects.get(self.path)
        chunked = "aws-chunked" in self.headers.get("Content-Encoding", "")
        condition = self.headers.get("If-Match") or self.headers.get("If-None-Match")
        if chunked and "refuses chunks" in self.manners:
            return self._answer(501, "NotImplemented")
        if condition and "refuses conditions" in self.manners:
            return self._answer(501, "NotImplemented")
        met = kept is None if condition == "*" else kept is not None and condition == kept[1]
        if condition and not met and "ignores conditions" not in self.manners:
            return self._answer(412, "PreconditionFailed")
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if "names by another hash" in self.manners:
            etag = f'"{hashlib.sha1(body).hexdigest()[:32]}"'
        if "keeps half" in self.manners:
            body = body[: len(body) // 2]
        if "swaps content" in self.manners:
            body = bytes(reversed(body))
        if "keeps nothing" not in self.manners:
            self.objects[self.path] = body, etag
        return self._answer(200, etag=etag)

    def do_GET(self) -> None:
        kept = self.objects.get(self.path)
        if kept is None:
            return self._answer(404, "NoSuchKey")
        return self._answer(200, body=kept[0], etag=kept[1])

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        if "refuses deletions" in self.manners:
            return self._answer(403, "AccessDenied")
        self.objects.pop(self.path, None)
        return self._answer(204)

    def _answer(self, status: int, code: str = "", body: bytes = b"", etag: str = "") -> None:
        if code:
            body = Reply.error(status, code).body
        self.send_response(status)
        if etag and "names nothing" not in self.manners:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class OddS3:
    """The server: `manners` says how it behaves from now on, `objects` what it holds by path."""

    def __init__(self, folder: Path) -> None:
        self.manners: set[str] = set()
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.requests: list[str] = []
        self.replies: list[Reply] = []
        """The last of them is what every request gets, as long as there is one."""
        context, _ = certificate(folder, "odd")
        self.authority = folder / "odd.pem"
        shared = {"manners": self.manners, "objects": self.objects, "requests": self.requests, "replies": self.replies}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), shared))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.bucket = BucketConfig(name="odd-bucket", endpoint_url=f"https://127.0.0.1:{self._server.server_port}")
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OddS3]:
    """The server, sound until told otherwise, whose certificate boto3 trusts."""
    server = OddS3(tmp_path)
    trust(server.authority, monkeypatch)
    yield server
    server.stop()


def trust(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 believe the certificate in `authority`, and sign with dummies."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)

"""A real S3 server (moto's) on a free port of this machine, for tests; import the fixture `s3` from here.

It answers over HTTP like AWS does, in a thread of the test process, and can be told to fail or to hang.
"""

import logging
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from train_cloud.run_config import BucketConfig

BUCKET = "ac-training-test"
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MotoS3:
    """The server: `endpoint_url` says where; `fail(status)`, `hang()`, `slow(seconds)` and `heal()` how it behaves."""

    def __init__(self) -> None:
        # A line for each request would bury what a failed test has to say.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._app: WsgiApp = DomainDispatcherApplication(create_backend_app)
        self._healthy = threading.Event()
        self._healthy.set()
        self._status: str | None = None
        self._delay = 0.0
        self._nameless: str | None = None
        self._never = threading.Event()
        self.requests = 0
        """How many have come so far."""
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def bucket(self) -> BucketConfig:
        """How a run finds the bucket."""
        return BucketConfig(name=BUCKET, region="us-east-1", endpoint_url=self.endpoint_url)

    def client(self) -> Any:
        """A plain boto3 client, for looking into the bucket."""
        return boto3.client("s3", region_name="us-east-1", endpoint_url=self.endpoint_url)

    def fail(self, status: str = "503 Service Unavailable") -> None:
        """Answer every request with this HTTP status from now on."""
        self._status = status

    def hang(self) -> None:
        """Take requests and answer none from now on."""
        self._healthy.clear()

    def slow(self, seconds: float) -> None:
        """Answer every request so much later from now on."""
        self._delay = seconds

    def leave_out_etags(self, suffix: str) -> None:
        """Answer for keys that end so without an ETag from now on, as no S3 server should."""
        self._nameless = suffix

    def heal(self) -> None:
        """Answer again and at once, those that hang included."""
        self._delay = 0.0
        self._nameless = None
        self._status = None
        self._healthy.set()

    def stop(self) -> None:
        """End the server."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(120)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests += 1
        self._healthy.wait()
        self._never.wait(self._delay)
        if self._status is not None:
            start_response(self._status, [("Content-Length", "0")])
            return [b""]
        if self._nameless is None or not environ["PATH_INFO"].endswith(self._nameless):
            return self._app(environ, start_response)

        def without_etag(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [item for item in headers if item[0].lower() != "etag"], *more)

        return self._app(environ, without_etag)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoS3]:
    """A fresh S3 server with an empty bucket BUCKET; the credentials are dummies in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    server = MotoS3()
    try:
        # moto keeps its state per process, not per server: begin with none.
        urllib.request.urlopen(f"{server.endpoint_url}/moto-api/reset", data=b"", timeout=120).close()
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()

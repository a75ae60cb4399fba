"""AWS on this machine: one moto server for every service, with the project's fidelity mends, in memory only.

In a test: `server = AwsServer()`, then `server.endpoint_url`, `server.client("s3")`, `server.reset()`, `server.stop()`.
As a process, with a state of its own: `AwsProcess()` in a test, or `python -m tests.support.aws_server --port 0`, which
prints its URL as the first line and serves until a signal. `--fd N` (several times) serves there
on listening sockets that the parent opened, for instance in network namespaces.
moto keeps its state per process, not per server: two servers in one process show the same cloud.
"""

import argparse
import logging
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from runtime.exit_codes import ExitCode
from runtime.signals import stop_on_signals
from tests.support.aws_fidelity import mend_moto, set_spot_prices

REGION = "us-east-1"
ACCOUNT = "123456789012"
ROOT = Path(__file__).parents[2]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AwsServer:
    """The server, answering from the moment that it is made.

    `wrap` puts WSGI middleware around it (to watch requests, to refuse some). `fds` are listening sockets to serve on
    instead of host and port; the first one is what `endpoint_url` names. `spot_prices` is USD per hour by instance
    type, None means the typical ones of terraform/prices.json.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        wrap: Callable[[WsgiApp], WsgiApp] | None = None,
        fds: Sequence[int] = (),
        spot_prices: Mapping[str, float] | None = None,
    ) -> None:
        # A line for each request would bury what a failed test has to say.
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        mend_moto()
        set_spot_prices(spot_prices)
        app: WsgiApp = DomainDispatcherApplication(create_backend_app)
        if wrap is not None:
            app = wrap(app)
        self._servers = [_listen(app, host, port, fd) for fd in fds or (None,)]
        self._threads = [threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True) for one in self._servers]
        for thread in self._threads:
            thread.start()
        address, bound = self._servers[0].socket.getsockname()[:2]
        self.endpoint_url = f"http://{address}:{bound}"

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client of `service` with dummy credentials."""
        return client(self.endpoint_url, service, region)

    def reset(self) -> None:
        """Forget everything: an account with nothing in it."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"{self.endpoint_url}/moto-api/reset", data=b"", timeout=10).close()

    def stop(self) -> None:
        """End the server; what it held stays in this process until `reset`."""
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join(120)


class AwsProcess:
    """The same server in a process of its own: what it holds is its own, and goes with it."""

    def __init__(self) -> None:
        # On the leash of this process: a killed test leaves no server behind.
        command = [sys.executable, "-m", "scripts.processes.leash", "tests.support.aws_server"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self.endpoint_url = self._process.stdout.readline().strip()
        assert self.endpoint_url, "the server ended before it listened; its standard error says why"

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client of `service` with dummy credentials."""
        return client(self.endpoint_url, service, region)

    def stop(self) -> None:
        """End the process."""
        with self._process:
            self._process.terminate()


def client(endpoint_url: str, service: str, region: str = REGION) -> Any:
    """A boto3 client of `service` at the server, with dummy credentials."""
    return boto3.client(
        service,  # type: ignore[call-overload]  # the stubs know literals only
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def environment(endpoint_url: str, region: str = REGION) -> dict[str, str]:
    """The variables with which boto3, curl code and Terraform use the server at `endpoint_url` and nothing else."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _listen(app: WsgiApp, host: str, port: int, fd: int | None) -> BaseWSGIServer:
    return make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler, fd=fd)


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="aws_server", description="moto with the project's fidelity mends")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--fd", type=int, action="append", default=[], help="a listening socket's file descriptor")
    options = parser.parse_args(arguments)
    stop = stop_on_signals()
    server = AwsServer(options.host, options.port, fds=options.fd)
    print(server.endpoint_url, flush=True)
    stop.wait()
    server.stop()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())

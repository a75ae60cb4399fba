"""What curl signs in lifeline.sh, recomputed by botocore from the bytes that arrived."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.imds import Imds, Metadata
from tests.support.scratch_instance import SOURCES
from tests.support.tools import need_tools

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass
class Arrived:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Witness:
    """An HTTP server that answers 200 to everything and keeps it; `run` runs shell code against it."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[Arrived] = []
        self.metadata = Metadata()
        self._folder = folder
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.requests))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        (folder / "etc/ac-training").mkdir(parents=True)
        settings = "AC_REGION='eu-west-1'\nAC_BUCKET='a.bucket'\nAC_GROUP='a group'\nAC_ALLOCATION='eipalloc-1'\n"
        (folder / "etc/ac-training/boot.env").write_text(settings)

    def run(self, commands: str) -> Arrived:
        """The only request that the commands made."""
        with Imds.of(self.metadata) as imds:
            environment = {
                "PATH": os.environ["PATH"],
                "AC_ROOT": str(self._folder),
                "AWS_ENDPOINT_URL": self.url,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint,
                "NO_PROXY": "127.0.0.1",
            }
            text = f"set -u; source {SOURCES}/lifeline.sh; {commands}"
            subprocess.run(["bash", "-c", text], env=environment, check=True, timeout=120)
        (request,) = self.requests
        return request

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def check(self, request: Arrived, service: str) -> None:
        """Hold that botocore signs what arrived in the same way."""
        match = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        assert match is not None, request.headers["authorization"]
        assert (match["key"], match["region"]) == (self.metadata.access_key_id, "eu-west-1")
        assert match["service"] == service
        names = match["headers"].split(";")
        assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names)
        assert request.headers["x-amz-security-token"] == self.metadata.session_token
        made = AWSRequest(
            method=request.method,
            url=self.url + request.path,
            headers={name: request.headers[name] for name in names},
            data=request.body,
        )
        made.context["timestamp"] = request.headers["x-amz-date"]
        credentials = Credentials(self.metadata.access_key_id, self.metadata.secret_access_key)
        kind: Any = S3SigV4Auth if service == "s3" else SigV4Auth
        auth = kind(credentials, service, "eu-west-1")
        assert set(auth.headers_to_sign(made).keys()) == set(names)
        text = auth.string_to_sign(made, auth.canonical_request(made))
        assert auth.signature(text, made) == match["signature"]


def _handler(requests: list[Arrived]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            requests.append(Arrived(self.command, self.path, headers, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = do_HEAD = _answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    need_tools("curl")
    one = Witness(tmp_path / "root")
    yield one
    one.close()


@pytest.mark.parametrize("command", ["s3_get a/b-c/D_1.x file", "s3_status a/b-c/D_1.x"])
def test_reading_an_object(witness: Witness, tmp_path: Path, command: str) -> None:
    request = witness.run(f"cd {tmp_path} && {command}")

    assert request.method == ("GET" if "get" in command else "HEAD")
    assert request.path == "/a.bucket/a/b-c/D_1.x"
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(b"").hexdigest()
    witness.check(request, "s3")


@pytest.mark.parametrize("size", [0, 11, 5_000_000])
def test_writing_an_object(witness: Witness, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "object").write_bytes(data)

    request = witness.run(f"s3_put runs/r/log {tmp_path}/object")

    assert (request.method, request.path, request.body) == ("PUT", "/a.bucket/runs/r/log", data)
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    witness.check(request, "s3")


def test_setting_the_desired_capacity(witness: Witness) -> None:
    request = witness.run("set_desired_zero 2>/dev/null")

    assert dict(parse_qsl(request.body.decode())) == {
        "Action": "SetDesiredCapacity",
        "Version": "2011-01-01",
        "AutoScalingGroupName": "a group",
        "DesiredCapacity": "0",
        "HonorCooldown": "false",
    }
    witness.check(request, "autoscaling")


def test_claiming_the_address(witness: Witness) -> None:
    request = witness.run("associate_address")

    assert dict(parse_qsl(request.body.decode())) == {
        "Action": "AssociateAddress",
        "Version": "2016-11-15",
        "AllocationId": "eipalloc-1",
        "InstanceId": witness.metadata.instance_id,
        "AllowReassociation": "true",
    }
    witness.check(request, "ec2")


def test_a_wrong_signature_would_be_seen(witness: Witness) -> None:
    request = witness.run("associate_address")
    request.body += b"&InstanceId=i-other"

    with pytest.raises(AssertionError):
        witness.check(request, "ec2")

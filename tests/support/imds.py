"""The instance metadata service (IMDSv2) of made-up instances, told apart by the address they call from.

In a test it runs in-process on loopback (`Imds`, reached through AWS_EC2_METADATA_SERVICE_ENDPOINT); for boxes it is a
process bound to 169.254.169.254: `python -m tests.support.imds FOLDER`, where FOLDER/<client address>.json holds what
`Metadata.write` put there and is read again at each request, so that a notice appears when the file says so. It wants a
token for everything, as `http_tokens = "required"` does, and answers 404 for what an instance has not got. It signs
nothing: the identity document's signature is a placeholder.
"""

import argparse
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_LIFETIME_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER = "X-aws-ec2-metadata-token"
_VERSIONS = ("1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")
_MAX_LIFETIME_SECONDS = 21600
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass
class Metadata:
    """What one instance reads of itself; change a field and the next request sees it."""

    instance_id: str = "i-0123456789abcdef0"
    instance_type: str = "g4dn.xlarge"
    region: str = "us-east-1"
    availability_zone: str = "us-east-1a"
    private_ip: str = "10.0.0.10"
    public_ip: str | None = "198.51.100.7"
    ipv6: str | None = None
    """None: the instance has no public address (yet)."""
    hostname: str = "ip-10-0-0-10.ec2.internal"
    mac: str = "02:00:0a:00:00:0a"
    ami_id: str = "ami-0123456789abcdef0"
    account: str = "123456789012"
    user_data: str | None = None
    """Path of a file with its bytes as they were sent (gzip or not), None for none."""
    role: str | None = "ac-training"
    """None: no instance profile."""
    access_key_id: str = "ASIATESTTESTTESTTEST"
    secret_access_key: str = "fakeSecret/with+signs=0123456789abcdefgh"
    session_token: str = "FakeSessionToken//with+signs=="
    credentials_expire_at: str | None = None
    """ISO 8601 in UTC; None: six hours from each request."""
    notice: str | None = None
    """Time (ISO 8601 in UTC) at which EC2 takes the instance back; None: no notice."""
    notice_action: str = "terminate"
    rebalance: str | None = None
    """Time of a rebalance recommendation; None: there is none."""

    def write(self, folder: Path, client: str) -> None:
        """Give these to the process that serves `folder`, for the instance that calls from address `client`."""
        fresh = folder / f".{client}.{os.getpid()}.new"
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(folder / f"{client}.json")

    @classmethod
    def read(cls, folder: Path, client: str) -> "Metadata | None":
        """What `write` put there for `client`, or None."""
        try:
            return cls(**json.loads((folder / f"{client}.json").read_text()))
        except FileNotFoundError:
            return None

    def give_notice(self, seconds: float = 120.0) -> None:
        """EC2 says that it takes the instance back in `seconds`."""
        self.notice = _from_now(seconds)

    def tree(self) -> dict[str, Any]:
        """Everything under /latest/meta-data/: folders are dicts, a JSON answer is a `_Json`, the rest is text."""
        interface = {
            "device-number": "0",
            "interface-id": "eni-0123456789abcdef0",
            "local-hostname": self.hostname,
            "local-ipv4s": self.private_ip,
            "mac": self.mac,
            "owner-id": self.account,
            "subnet-ipv4-cidr-block": self.private_ip.rpartition(".")[0] + ".0/24",
        }
        root: dict[str, Any] = {
            "ami-id": self.ami_id,
            "ami-launch-index": "0",
            "hostname": self.hostname,
            "instance-action": "none",
            "instance-id": self.instance_id,
            "instance-life-cycle": "spot",
            "instance-type": self.instance_type,
            "local-hostname": self.hostname,
            "local-ipv4": self.private_ip,
            "mac": self.mac,
            "network": {"interfaces": {"macs": {self.mac: interface}}},
            "placement": {"availability-zone": self.availability_zone, "region": self.region},
            "profile": "default-hvm",
            "reservation-id": "r-0123456789abcdef0",
            "security-groups": "ac-training",
            "services": {"domain": "amazonaws.com", "partition": "aws"},
        }
        if self.public_ip is not None:
            root["public-ipv4"] = interface["public-ipv4s"] = self.public_ip
        if self.ipv6 is not None:
            root["ipv6"] = interface["ipv6s"] = self.ipv6
        if self.role is not None:
            root["iam"] = {"info": self._profile(), "security-credentials": {self.role: self._credentials()}}
        if self.notice is not None:
            action = _Json({"action": self.notice_action, "time": self.notice})
            root["spot"] = {"instance-action": action, "termination-time": self.notice}
        if self.rebalance is not None:
            root["events"] = {"recommendations": {"rebalance": _Json({"noticeTime": self.rebalance})}}
        return root

    def identity(self) -> str:
        """The instance identity document."""
        document = {
            "accountId": self.account,
            "architecture": "x86_64",
            "availabilityZone": self.availability_zone,
            "imageId": self.ami_id,
            "instanceId": self.instance_id,
            "instanceType": self.instance_type,
            "privateIp": self.private_ip,
            "region": self.region,
        }
        return json.dumps(document)

    def _profile(self) -> "_Json":
        arn = f"arn:aws:iam::{self.account}:instance-profile/{self.role}"
        return _Json({"Code": "Success", "InstanceProfileArn": arn, "InstanceProfileId": "AIPATESTTESTTESTTEST"})

    def _credentials(self) -> "_Json":
        return _Json(
            {
                "Code": "Success",
                "LastUpdated": _from_now(0.0),
                "Type": "AWS-HMAC",
                "AccessKeyId": self.access_key_id,
                "SecretAccessKey": self.secret_access_key,
                "Token": self.session_token,
                "Expiration": self.credentials_expire_at or _from_now(6 * 3600.0),
            }
        )


class _Json(dict[str, Any]):
    """An answer in JSON, where a plain dict would be a folder. Printed over several lines, as EC2 does."""


class Imds:
    """Serves while its context is open; `find` gives the instance that calls from an address, None for a stranger."""

    def __init__(self, find: Callable[[str], Metadata | None], host: str = "127.0.0.1", port: int = 0) -> None:
        self.find = find
        self.delay_seconds = 0.0
        """How long each answer takes to come."""
        self.failures = 0
        """How many of the next answers are 503."""
        self.requests: list[str] = []
        """Method and path of each request, in order."""
        self._tokens: dict[str, tuple[str, float]] = {}
        self._closing = threading.Event()
        self._server = _Server((host, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="imds", daemon=True)

    @classmethod
    def of(cls, metadata: Metadata) -> "Imds":
        """The service of one instance, on loopback."""
        return cls(lambda _client: metadata)

    def __enter__(self) -> "Imds":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(120)

    @property
    def endpoint(self) -> str:
        """The value for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def make_token(self, client: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Status and body of PUT /latest/api/token. A forwarded request is refused, as EC2 does."""
        given = {name.lower(): value for name, value in headers.items()}
        lifetime = given.get(_LIFETIME_HEADER.lower(), "")
        if "x-forwarded-for" in given:
            return 403, ""
        if not re.fullmatch(r"\d{1,5}", lifetime) or not 1 <= int(lifetime) <= _MAX_LIFETIME_SECONDS:
            return 400, ""
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (client, time.monotonic() + int(lifetime))
        return 200, token

    def answer(self, client: str, path: str, token: str | None) -> tuple[int, str | bytes]:
        """Status and body of GET `path`."""
        owner, until = self._tokens.get(token or "", (None, 0.0))
        if owner != client or until < time.monotonic():
            return 401, ""
        metadata = self.find(client)
        version, _, rest = path.partition("?")[0].strip("/").partition("/")
        if metadata is None or version not in ("", *_VERSIONS):
            return 404, ""
        if version == "":
            return 200, "\n".join(_VERSIONS)
        if rest == "user-data":
            return (404, "") if metadata.user_data is None else (200, Path(metadata.user_data).read_bytes())
        document = {"document": metadata.identity(), "pkcs7": "cGxhY2Vob2xkZXI=", "signature": "cGxhY2Vob2xkZXI="}
        return _look_up({"dynamic": {"instance-identity": document}, "meta-data": metadata.tree()}, rest)

    def hold_back(self) -> bool:
        """Note the delay, then say whether this answer is to be a 503."""
        self._closing.wait(self.delay_seconds)
        self.failures -= (failing := self.failures > 0)
        return failing


def _look_up(node: Any, path: str) -> tuple[int, str]:
    for name in filter(None, path.split("/")):
        if not isinstance(node, dict) or isinstance(node, _Json) or name not in node:
            return 404, ""
        node = node[name]
    if isinstance(node, _Json):
        return 200, json.dumps(node, indent=2)
    if isinstance(node, dict):
        folders = {name for name, child in node.items() if isinstance(child, dict) and not isinstance(child, _Json)}
        return 200, "\n".join(f"{name}/" if name in folders else name for name in node)
    return 200, str(node)


def _from_now(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(_TIME)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


def _handler(service: Imds) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "EC2ws", ""

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path.rstrip("/") != "/latest/api/token":
                self._send(404, "")
                return
            status, body = service.make_token(self.client_address[0], dict(self.headers))
            self._send(status, body, {_LIFETIME_HEADER: self.headers[_LIFETIME_HEADER]} if status == 200 else {})

        def do_GET(self) -> None:
            self._send(*service.answer(self.client_address[0], self.path, self.headers.get(_TOKEN_HEADER)))

        def _send(self, status: int, body: str | bytes, headers: Mapping[str, str] | None = None) -> None:
            service.requests.append(f"{self.command} {self.path}")
            if service.hold_back():
                status, body = 503, ""
            content = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            # Who asks with a time limit may be gone.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def main() -> None:
    """Serve a folder of instances until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bind", default="169.254.169.254")
    parser.add_argument("--port", type=int, default=80)
    arguments = parser.parse_args()
    with Imds(lambda client: Metadata.read(arguments.folder, client), arguments.bind, arguments.port):
        threading.Event().wait()


if __name__ == "__main__":
    main()

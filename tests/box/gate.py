"""What stands before AWS in a box: it knows every call that an instance makes, and can refuse or break some of them.

`Gate` is WSGI middleware. Of calls made with credentials that it issued (an instance's role) it checks the signature
(Signature Version 4, by botocore's own code) and answers 403 where that is wrong, as AWS does and moto does not; then
it notes who did what to what, in IAM's words. Other calls (Terraform's, the tests') pass unseen.
"""

import fnmatch
import hashlib
import io
import json
import re
import secrets
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.aws_server import ACCOUNT, REGION, WsgiApp

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,\s*"
    r"SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_XML = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>refused by the gate</Message></Error>'


Subject = tuple[tuple[str, ...], Mapping[str, str]]
"""Resources and condition keys of a call."""


@dataclass(frozen=True)
class Call:
    """One call of an instance: `action` and `resources` as a policy would name them; `context` holds condition keys."""

    access_key: str
    action: str
    resources: tuple[str, ...]
    context: Mapping[str, str] = field(default_factory=dict)

    def matches(self, action: str, resource: str = "*") -> bool:
        """Whether both patterns (with * and ?) fit it."""
        return fnmatch.fnmatchcase(self.action, action) and any(
            fnmatch.fnmatchcase(own, resource) for own in self.resources
        )


class Gate:
    """Middleware before one or several servers; its rules may change at any time, from any thread."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.bad_signatures: list[str] = []
        self._secrets: dict[str, tuple[str, str]] = {}
        self._rules: list[tuple[str, str, str, str]] = []
        self._lock = threading.Lock()

    def issue(self) -> tuple[str, str, str]:
        """New role credentials: access key id, secret access key, session token."""
        key, secret, token = f"ASIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), secrets.token_urlsafe(60)
        self._secrets[key] = (secret, token)
        return key, secret, token

    def refuse(self, action: str, resource: str = "*") -> None:
        """From now on, instances get 403 AccessDenied for what fits these patterns."""
        self._rules.append((action, resource, "403 Forbidden", "AccessDenied"))

    def break_down(self, action: str, resource: str = "*") -> None:
        """From now on, instances get 503 for what fits these patterns."""
        self._rules.append((action, resource, "503 Service Unavailable", "ServiceUnavailable"))

    def heal(self) -> None:
        """Let everything pass again."""
        self._rules.clear()

    def wrap(self, app: WsgiApp) -> WsgiApp:
        """The application behind the gate."""

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            match = _AUTHORIZATION.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
            if match is None or match["key"] not in self._secrets:
                return app(environ, start_response)
            body = _body(environ)
            environ["wsgi.input"] = io.BytesIO(body)
            if (fault := self._fault(environ, body, match)) is not None:
                self.bad_signatures.append(f"{environ['REQUEST_METHOD']} {_target(environ)}: {fault}")
                return _refusal(start_response, "403 Forbidden", "SignatureDoesNotMatch")
            call = Call(match["key"], *_read_call(environ, body, match["service"]))
            with self._lock:
                self.calls.append(call)
            for action, resource, status, code in list(self._rules):
                if call.matches(action, resource):
                    return _refusal(start_response, status, code)
            return app(environ, start_response)

        return answer

    def _fault(self, environ: Mapping[str, Any], body: bytes, match: re.Match[str]) -> str | None:
        secret, token = self._secrets[match["key"]]
        if environ.get("HTTP_X_AMZ_SECURITY_TOKEN") != token:
            return "no session token, or not the one that belongs to the key"
        names = match["headers"].split(";")
        headers = {name: _header(environ, name) for name in names}
        if not {"host", "x-amz-date"} <= headers.keys():
            return "host or date are not signed"
        stated = _header(environ, "x-amz-content-sha256")
        if re.fullmatch("[0-9a-f]{64}", stated) and hashlib.sha256(body).hexdigest() != stated:
            return "the body is not what was signed"
        request = AWSRequest(environ["REQUEST_METHOD"], f"http://{headers['host']}{_target(environ)}", headers, body)
        request.context["timestamp"] = headers["x-amz-date"]
        kind = S3SigV4Auth if match["service"] == "s3" else SigV4Auth
        auth = kind(Credentials(match["key"], secret, token), match["service"], match["region"])
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return None if expected == match["signature"] else "the signature is wrong"


def _refusal(start_response: Callable[..., Any], status: str, code: str) -> list[bytes]:
    body = _XML.format(code=code).encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _body(environ: Mapping[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    stream = environ["wsgi.input"]
    data: bytes = stream.read(int(length)) if length else stream.read() if environ.get("wsgi.input_terminated") else b""
    return data


def _target(environ: Mapping[str, Any]) -> str:
    """Path and query as they came over the line."""
    return str(environ.get("RAW_URI") or environ["REQUEST_URI"])


def _header(environ: Mapping[str, Any], name: str) -> str:
    plain = name.upper().replace("-", "_")
    key = plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{plain}"
    return " ".join(str(environ.get(key, "")).split())


def _read_call(environ: Mapping[str, Any], body: bytes, service: str) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    if service == "s3":
        return _read_s3(environ)
    target = _header(environ, "x-amz-target")
    if target:
        action = target.rpartition(".")[2]
        arguments = json.loads(body or b"{}")
    elif "/operation/" in _target(environ):
        action, arguments = _target(environ).rpartition("/")[2], {}
    else:
        form = urllib.parse.parse_qs(body.decode())
        action, arguments = form["Action"][0], {name: values[0] for name, values in form.items()}
    prefix = "cloudwatch" if service == "monitoring" else service
    subject = _RESOURCES.get(f"{prefix}:{action}") or _RESOURCES.get(prefix)
    return f"{prefix}:{action}", *(subject(arguments) if subject else (("*",), {}))


def _read_s3(environ: Mapping[str, Any]) -> tuple[str, tuple[str, ...], Mapping[str, str]]:
    path, _, query = _target(environ).partition("?")
    bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
    asked = urllib.parse.parse_qs(query, keep_blank_values=True)
    method = environ["REQUEST_METHOD"]
    if not key:
        action = {"GET": "ListBucket", "HEAD": "ListBucket"}.get(method, f"{method} of a bucket")
        context = {"s3:prefix": asked["prefix"][0]} if "prefix" in asked else {}
        return f"s3:{action}", (f"arn:aws:s3:::{bucket}",), context
    actions = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}
    action = actions.get(method) or ("AbortMultipartUpload" if "uploadId" in asked else "DeleteObject")
    return f"s3:{action}", (f"arn:aws:s3:::{bucket}/{key}",), {}


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{rest}"


def _ssm(arguments: Mapping[str, Any]) -> Subject:
    names = arguments.get("Names") or [arguments.get("Name", "?")]
    return tuple(_arn("ssm", f"parameter/{name.lstrip('/')}") for name in names), {}


def _group(arguments: Mapping[str, Any]) -> Subject:
    name = arguments.get("AutoScalingGroupName", "?")
    return (_arn("autoscaling", f"autoScalingGroup:11111111-2222:autoScalingGroupName/{name}"),), {}


def _address(arguments: Mapping[str, Any]) -> Subject:
    address = _arn("ec2", f"elastic-ip/{arguments.get('AllocationId', '?')}")
    return (address, _arn("ec2", f"instance/{arguments.get('InstanceId', '?')}")), {}


def _logs(arguments: Mapping[str, Any]) -> Subject:
    group, stream = arguments.get("logGroupName", "?"), arguments.get("logStreamName", "")
    return (_arn("logs", f"log-group:{group}:log-stream:{stream}"),), {}


# By action or by service; what is not here has no resource that a policy could name.
_RESOURCES: Mapping[str, Callable[[Mapping[str, Any]], Subject]] = {
    "ssm": _ssm,
    "autoscaling:SetDesiredCapacity": _group,
    "autoscaling:PutScheduledUpdateGroupAction": _group,
    "ec2:AssociateAddress": _address,
    "logs": _logs,
}

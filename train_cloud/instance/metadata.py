"""The instance metadata service (IMDSv2): what an instance is told about itself, by the standard library alone.

Every call takes at most two requests of TIMEOUT_SECONDS each. The session token is renewed before it runs out and when
the service has forgotten it. AWS_EC2_METADATA_SERVICE_ENDPOINT names another service. The system's Python imports this
before our own environment exists, so nothing outside the standard library may be imported here.
"""

import http.client
import os
import time
import urllib.error
import urllib.request

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TIMEOUT_SECONDS = 2.0
TOKEN_SECONDS = 21_600
MAX_BYTES = 64 * 2**10


class MetadataError(Exception):
    """The metadata service did not answer, or not as it should; the text is a sentence."""


class Metadata:
    """One instance's metadata service; not for several threads at once.

    Sources: the EC2 user guide, "Use the Instance Metadata Service to access instance metadata".
    """

    def __init__(self, endpoint: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        given = endpoint or os.environ.get(ENDPOINT_VARIABLE) or "http://169.254.169.254"
        self._root = given.rstrip("/") + "/latest/"
        self._timeout = timeout
        # The address is link-local: what HTTP_PROXY names could not reach it, and must not see the role's credentials.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token = ""
        self._renew_at = 0.0

    def get(self, path: str) -> str | None:
        """The text under /latest/meta-data/`path`, None when the instance has no such thing. Raises MetadataError."""
        for _ in range(2):
            status, body = self._request("GET", "meta-data/" + path, {"X-aws-ec2-metadata-token": self._fresh_token()})
            if status != 401:
                break
            self._token = ""
        if status not in (200, 404):
            raise MetadataError(f"The metadata service answered {status} for {path}.")
        return body if status == 200 else None

    def need(self, path: str) -> str:
        """Like `get`, for what every instance has. Raises MetadataError when it is missing or empty."""
        value = (self.get(path) or "").strip()
        if not value:
            raise MetadataError(f"The metadata service knows no {path} of this instance.")
        return value

    def _fresh_token(self) -> str:
        if not self._token or time.monotonic() >= self._renew_at:
            asked = time.monotonic()
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            status, body = self._request("PUT", "api/token", lifetime)
            if status != 200 or not body:
                raise MetadataError(f"The metadata service gave no session token (status {status}).")
            self._token, self._renew_at = body, asked + TOKEN_SECONDS / 2
        return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(self._root + path, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return int(answer.status), answer.read(MAX_BYTES).decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            error.close()
            return error.code, ""
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise MetadataError(f"The metadata service did not answer ({reason}).") from error

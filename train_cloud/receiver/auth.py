"""Who may open a connection: HTTP Basic in the upgrade request, judged before anything else of the peer is read.

Tokens are compared in constant time. The right one is let in always: many share an address with one that guesses, or
with a bridge that knows an old token. An address that keeps guessing is told to wait, and logged no more. What is
refused gets an HTTP status and a sentence, never a hint about the token. Open connections are not touched.
"""

from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from re import fullmatch

from websockets.datastructures import Headers

from train_cloud.throttle import Throttle
from wire.messages import PROTOCOL
from wire.pairing import parse_basic_auth, tokens_equal


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer instead of a WebSocket; `text` is without its line's end."""

    status: HTTPStatus
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Gate:
    """Judges upgrade requests against one token."""

    def __init__(self, token: str, throttle: Throttle | None = None) -> None:
        self._token = token
        self._throttle = throttle or Throttle()

    def judge(self, address: str, path: str, headers: Headers) -> HttpAnswer | None:
        """None when the request may become a WebSocket, else what to answer."""
        refusal = self.judge_token(address, headers)
        if refusal is not None:
            return refusal
        if not fullmatch(r"/(pin-[0-9a-f]{64})?", path):
            return HttpAnswer(HTTPStatus.NOT_FOUND, "There is nothing under this path; the receiver answers at /.")
        offered = [name.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for name in value.split(",")]
        if PROTOCOL not in offered:
            return HttpAnswer(
                HTTPStatus.BAD_REQUEST,
                f"This receiver speaks {PROTOCOL}; you offered {', '.join(offered)[:200] or 'no subprotocol'}. "
                "Bring bridge and receiver to the same version.",
            )
        return None

    def judge_token(self, address: str, headers: Headers) -> HttpAnswer | None:
        """None when the request shows the token; else what to answer, which counts as a guess if it shows another."""
        given = headers.get_all("Authorization")
        token = parse_basic_auth(given[0]) if len(given) == 1 else None
        # Compare in every case, so that a missing token takes as long as a wrong one.
        if tokens_equal(token or "", self._token):
            return None
        if given and (closed := self._throttle.seconds_closed(address)):
            wait = str(ceil(closed))
            return HttpAnswer(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"Too many wrong tokens from this address, and this one is wrong, too. Try again in {wait} s.",
                (("Retry-After", wait),),
            )
        if given:
            self._throttle.failed(address)
        return HttpAnswer(
            HTTPStatus.UNAUTHORIZED,
            "The token is missing or wrong. Use the pairing string that the receiver wrote.",
            (("WWW-Authenticate", 'Basic realm="ac-training"'),),
        )

"""Who may open a connection: HTTP Basic in the upgrade request, judged before anything else of the peer is read.

Tokens are compared in constant time. The right one is let in always: many share an address with one that guesses, or
with a bridge that knows an old token. An address that keeps guessing is told to wait, and logged no more. What is
refused gets an HTTP status and a sentence, never a hint about the token. Open connections are not touched.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from re import fullmatch

from websockets.datastructures import Headers

from wire.messages import PROTOCOL
from wire.pairing import parse_basic_auth, tokens_equal

FAILURES_ALLOWED = 10
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer instead of a WebSocket; `text` is without its line's end."""

    status: HTTPStatus
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Throttle:
    """Counts wrong tokens by peer address: more than `failures` in `window` seconds close the door to others."""

    def __init__(
        self,
        failures: int = FAILURES_ALLOWED,
        window: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures, self._window, self._clock = failures, window, clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def seconds_closed(self, address: str) -> float:
        """How long `address` must still wait with another guess; 0 when it may try."""
        began, count = self._seen.get(network_of(address), (0.0, 0))
        return max(0.0, began + self._window - self._clock()) if count >= self._failures else 0.0

    def failed(self, address: str) -> None:
        """`address` showed a wrong token."""
        key, now = network_of(address), self._clock()
        began, count = self._seen.pop(key, (now, 0))
        if now - began >= self._window:
            began, count = now, 0
        self._seen[key] = (began, count + 1)
        # A flood from ever new addresses must not fill the memory: the oldest are forgotten.
        while len(self._seen) > MAX_ADDRESSES:
            self._seen.popitem(last=False)


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


def network_of(address: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)

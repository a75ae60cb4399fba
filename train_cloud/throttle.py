"""Slows down who guesses a token: wrong ones are counted by the peer's address, in memory, within bounds."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

FAILURES_ALLOWED: Final = 10
WINDOW_SECONDS: Final = 60.0
MAX_ADDRESSES = 10_000


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


def network_of(address: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)

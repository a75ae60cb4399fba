"""Calls the receiver once, without joining the run: does it answer, is it the right one, how far away is it?

Promises that nothing of the run changes (no Hello is said), an answer within CALL_SECONDS, an end as soon as it is
stopped, and in no text the token or what a library says by itself.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import pairwise

from websockets.exceptions import InvalidStatus, WebSocketException

from bridge.doctor.messages import Finding, Message, found
from bridge.link.dialing import LinkConnection, dial, in_words
from bridge.link.proxies import ProxyTrouble
from bridge.link.refusal import ProxyUnusable, Refused, UntrustedCertificate, WrongCertificate, WrongToken
from wire.pairing import Pairing

PINGS = 15
_PING_EVERY = 0.05
CALL_SECONDS = 15.0
_LOOK_SECONDS = 0.05
SLOW_SECONDS, SLOW_JITTER = 0.3, 0.1
SKEWED_SECONDS = 5.0
_REFUSALS: dict[type[Refused], Message] = {
    WrongCertificate: Message.CERTIFICATE,
    UntrustedCertificate: Message.UNTRUSTED,
    WrongToken: Message.TOKEN,
    ProxyUnusable: Message.PROXY,
}
_ANSWERS: dict[int, Message] = {
    HTTPStatus.TOO_MANY_REQUESTS: Message.THROTTLED,
    HTTPStatus.SERVICE_UNAVAILABLE: Message.BUSY,
}


def cloud_findings(pairing: Pairing, stopped: Callable[[], bool]) -> Iterator[Finding]:
    """Findings about the receiver, the round trip and the clock; none of them once it is `stopped`."""
    yield found(Message.PAIRED, address=pairing.url)
    try:
        trips, skew = asyncio.run(_call_until(pairing, stopped))
    except asyncio.CancelledError:
        return
    except Refused as error:
        yield found(_REFUSALS.get(type(error), Message.REFUSED), reason=error.text)
    except ProxyTrouble as error:
        yield found(Message.PROXY, reason=in_words(error))
    except InvalidStatus as error:
        status = error.response.status_code
        yield found(_ANSWERS.get(status, Message.STRANGER), status=status)
    except (OSError, TimeoutError, WebSocketException, EOFError) as error:
        yield found(Message.UNREACHABLE, reason=in_words(error))
    else:
        yield found(Message.RECEIVER if pairing.tls else Message.RECEIVER_PLAIN)
        yield _round_trip(trips)
        yield _clock(skew)


async def _call_until(pairing: Pairing, stopped: Callable[[], bool]) -> tuple[list[float], float | None]:
    """Call, for CALL_SECONDS at most; raises CancelledError once it is `stopped`."""
    call = asyncio.ensure_future(_call(pairing))
    try:
        async with asyncio.timeout(CALL_SECONDS):
            while not call.done() and not stopped():
                await asyncio.wait({call}, timeout=_LOOK_SECONDS)
    finally:
        call.cancel()
    return await call


async def _call(pairing: Pairing) -> tuple[list[float], float | None]:
    """Round trips, s each, and how far our clock is ahead of the receiver's, s; None if that is unknown."""
    connection = await dial(pairing)
    try:
        skew = _skew(connection)
        trips = []
        for _ in range(PINGS):
            sent = time.perf_counter()
            await (await connection.ping())
            trips.append(time.perf_counter() - sent)
            await asyncio.sleep(_PING_EVERY)
        return trips, skew
    finally:
        connection.transport.abort()


def _skew(connection: LinkConnection) -> float | None:
    """From the answer's Date, which is cut to whole seconds and some milliseconds old: up to a second is no skew."""
    headers = {} if connection.response is None else connection.response.headers
    try:
        apart = time.time() - parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    return apart if apart < 0.0 else max(0.0, apart - 1.0)


def _round_trip(trips: list[float]) -> Finding:
    median = statistics.median(trips)
    # As RFC 3550 has it, without the smoothing: how much one differs from the next.
    jitter = statistics.fmean(abs(after - before) for before, after in pairwise(trips))
    slow = median > SLOW_SECONDS or jitter > SLOW_JITTER
    message = Message.ROUND_TRIP_SLOW if slow else Message.ROUND_TRIP
    return found(message, median=f"{1000 * median:.1f}", jitter=f"{1000 * jitter:.1f}")


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return found(Message.CLOCK_UNKNOWN)
    if abs(skew) > SKEWED_SECONDS:
        return found(Message.CLOCK_OFF, skew=f"{skew:+.0f}")
    return found(Message.CLOCK, skew=f"{max(abs(skew), 1.0):.0f}")

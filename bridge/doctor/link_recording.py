"""Records how long messages to the receiver and back take, for a policy that is to be trained for this link.

As the doctor's other call it says no Hello, and changes nothing of the run; so the receiver lets it go after some
seconds, and it calls again. A message that was not answered until then counts as one that took all that time; what was
under way when the connection was cut says nothing.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from websockets.exceptions import ConnectionClosed, WebSocketException

from bridge.link.dialing import dial, in_words
from wire.pairing import Pairing

EVERY_SECONDS: Final = 0.05
"""Between two messages, as between two control steps at 20 Hz."""
CALL_SECONDS: Final = 6.0
"""Of messages in one call: the receiver waits 10 s for a Hello."""
LAST_ANSWER_SECONDS: Final = 3.0
AGAIN_SECONDS: Final = 1.0
LEAST_TRIPS: Final = 100
_LOOK_SECONDS: Final = 0.05


class CannotRecord(Exception):
    """Too little was answered to say anything of the link; the text says why."""


def round_trips(pairing: Pairing, seconds: float, stopped: Callable[[], bool]) -> list[float]:
    """Round trips for so long, s each, in the order of their messages; fewer where it is `stopped`.

    Raises CannotRecord, and Refused where the receiver is not the right one.
    """
    trips, trouble = asyncio.run(_record(pairing, seconds, stopped))
    if len(trips) < LEAST_TRIPS:
        why = f"; {trouble}" if trouble else ""
        raise CannotRecord(f"only {len(trips)} messages were answered, of which {LEAST_TRIPS} are needed{why}.")
    return trips


async def _record(pairing: Pairing, seconds: float, stopped: Callable[[], bool]) -> tuple[list[float], str]:
    trips: list[float] = []
    trouble, until = "", time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        try:
            await _call(pairing, min(CALL_SECONDS, until - time.monotonic()), trips, stopped)
        except (OSError, TimeoutError, WebSocketException, EOFError) as error:
            trouble = in_words(error)
            await _pause(AGAIN_SECONDS, stopped)
    return trips, trouble


async def _call(pairing: Pairing, seconds: float, trips: list[float], stopped: Callable[[], bool]) -> None:
    connection = await dial(pairing)
    sent: list[tuple[float, asyncio.Future[float]]] = []
    began = time.perf_counter()
    try:
        with suppress(ConnectionClosed):
            while (now := time.perf_counter()) < began + seconds and not stopped():
                pong: asyncio.Future[float] = asyncio.ensure_future(await connection.ping())
                sent.append((now, pong))
                due = began + len(sent) * EVERY_SECONDS
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if sent:
            await asyncio.wait([pong for _, pong in sent], timeout=LAST_ANSWER_SECONDS)
        ended = time.perf_counter()
        for at, pong in sent:
            if not pong.done():
                trips.append(ended - at)
                pong.cancel()
            elif not pong.cancelled() and pong.exception() is None:
                trips.append(pong.result())
    finally:
        connection.transport.abort()


async def _pause(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        await asyncio.sleep(_LOOK_SECONDS)

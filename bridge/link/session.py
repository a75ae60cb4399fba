"""One connection's conversation: introduces the bridge, then sends, hears and pings until the connection ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from bridge.link.dialing import LinkConnection
from bridge.link.exchange import Exchange, SessionOver
from bridge.link.refusal import Refused
from wire.frames import FrameError, decode_down, encode_frame, encode_text
from wire.messages import CloseCode, Ping, Report, Telemetry, UpMessage

PING_SECONDS = 0.5
"""A connection over which nothing came for so long is asked for a sign of life."""
SILENCE_SECONDS = 5.0
"""Nothing heard for so long, not even a Pong: the connection is dead, whatever the operating system thinks."""
WELCOME_SECONDS = 10.0
REPORT_SECONDS = 1.0
"""Between two reports of how the bridge stands."""
_DISTRUST_SECONDS = 5.0


class Shown(Protocol):
    """A car that is shown to whoever watches; all in the link's loop."""

    async def keep_looking(self) -> None:
        """Follow it, until cancelled."""

    async def next(self) -> Telemetry:
        """The newest of it, once there is something new."""

    async def sent(self, size: int) -> None:
        """That was sent, in so many bytes; returns when more may be."""


class Conversation:
    """Runs the exchange over one fresh connection.

    `wake` is set when there may be something to send, or to read from the spool; `report` says how the bridge stands,
    and `car` is shown where that is welcome.
    """

    def __init__(
        self,
        connection: LinkConnection,
        exchange: Exchange,
        wake: asyncio.Event,
        report: Callable[[], Report],
        car: Shown | None,
    ) -> None:
        self._connection, self._exchange, self._wake = connection, exchange, wake
        self._report, self._car = report, car
        self._encoded: Callable[[UpMessage], bytes | str] = encode_text if exchange.introduction.text else encode_frame
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Talk until the connection ends; never returns. Raises Refused, or SessionOver when to dial again."""
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                await self._introduce()
            async with asyncio.TaskGroup() as tasks:
                for work in (self._listen(), self._send(), self._ping(), self._keep_reporting(), self._keep_showing()):
                    tasks.create_task(work)
        except BaseExceptionGroup as group:
            raise _first_cause(group) from None
        except (ConnectionClosed, FrameError) as error:
            raise _judged(error) from None
        except TimeoutError:
            raise SessionOver("the receiver does not answer the Hello") from None
        finally:
            self._exchange.disconnected()
            self._connection.transport.abort()

    async def _introduce(self) -> None:
        await self._connection.send(self._encoded(self._exchange.hello()))
        while not self._exchange.state.connected:
            await self._hear()
        if (announcement := self._exchange.announcement) is not None:
            await self._connection.send(self._encoded(announcement))

    async def _hear(self) -> None:
        self._exchange.hear(decode_down(await self._connection.recv()), self._now())
        self._wake.set()

    async def _listen(self) -> None:
        while True:
            await self._hear()

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            batch = self._exchange.next_batch(self._now())
            if batch is not None:
                await self._connection.send(self._encoded(batch))
                # There may be room now to read ahead.
                self._wake.set()
                continue
            pause = self._exchange.pause_left(self._now())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause or None):
                    await self._wake.wait()

    async def _keep_reporting(self) -> None:
        while True:
            await self._connection.send(self._encoded(self._report()))
            await asyncio.sleep(REPORT_SECONDS)

    async def _keep_showing(self) -> None:
        """Tell where the car is, if that is welcome; on a slow line less often, and always the newest."""
        while self._car is not None and self._exchange.takes_telemetry:
            frame = self._encoded(await self._car.next())
            await self._connection.send(frame)
            await self._car.sent(len(frame))

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            silence = self._now() - self._connection.heard_at
            if silence > 0.8 * PING_SECONDS:
                await self._connection.send(self._encoded(Ping(self._now())))
            if silence > SILENCE_SECONDS:
                raise SessionOver(f"nothing was heard for {silence:.1f} s")


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the session, judged; what is final goes before what is not."""
    causes = [_judged(cause) for cause in group.exceptions]
    return next((cause for cause in causes if isinstance(cause, Refused)), causes[0])


def _judged(error: BaseException) -> BaseException:
    if isinstance(error, ConnectionClosed):
        received = error.rcvd
        if received is not None and received.code == CloseCode.REFUSED:
            return Refused(
                f"The receiver refuses this bridge: {received.reason or 'it gives no reason'}. Its log says more."
            )
        return SessionOver(f"the connection ended ({error})")
    if isinstance(error, FrameError):
        return SessionOver(f"the receiver sends what cannot be read: {error}", _DISTRUST_SECONDS)
    return error

"""The link of a bridge that serves environments: dials out, introduces itself, hands calls to the host, answers.

It is dialled anew for ever. What was answered over a connection that was cut is answered again when it is asked again.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from threading import Event

from websockets.exceptions import ConnectionClosed

from bridge.link.dialing import MAX_UNREAD_BYTES, LinkConnection, dial, race
from bridge.link.link import LOOK_UP_SECONDS
from bridge.link.refusal import Refused
from bridge.serve_env.host import Host
from runtime.logs import fields
from wire.frames import FrameError, decode_down, encode_frame
from wire.messages import CloseCode, DownMessage, Drain, EnvCall, EnvResult, Error, Hello, Ping, Welcome
from wire.pairing import Pairing, PairingError

PING_SECONDS = 0.5
SILENCE_SECONDS = 4.0
"""Nothing heard for so long: the link is dead, and another is dialled."""
WELCOME_SECONDS = 10.0
STOP_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Serving:
    """Serves over one link until `stop`; `host_of(answer)` makes the host, whose environments outlive connections."""

    def __init__(
        self,
        pairing: Pairing,
        hello: Hello,
        host_of: Callable[[Callable[[EnvResult], None]], Host],
        stop: Event,
        look_up: Callable[[], Pairing] | None = None,
    ) -> None:
        self._pairing, self._hello, self._stop, self._look_up = pairing, hello, stop, look_up
        self._host = host_of(self._answer)
        self._connection: LinkConnection | None = None
        self._let_in = False

    def run(self) -> None:
        """Serve until told to stop. Raises Refused when the receiver does not want this bridge."""
        try:
            asyncio.run(self._run())
        finally:
            self._host.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._look_up_at = self._loop.time() + LOOK_UP_SECONDS
        serving = asyncio.ensure_future(self._serve())
        try:
            while not self._stop.is_set() and not serving.done():
                await asyncio.wait([serving], timeout=STOP_SECONDS)
        finally:
            if not serving.done():
                serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if not serving.cancelled() and serving.exception() is not None:
            raise serving.exception()  # type: ignore[misc]  # it was asked for above

    async def _serve(self) -> None:
        while True:
            connection = await race(self._dial, lambda _: self._let_in or self._look_up is not None)
            self._let_in = True
            try:
                await self._talk(connection)
            except (ConnectionClosed, FrameError, TimeoutError) as error:
                received = error.rcvd if isinstance(error, ConnectionClosed) else None
                if received is not None and received.code == CloseCode.REFUSED:
                    raise Refused(f"The receiver refuses this bridge: {received.reason}. Its log says more.") from None
                _log.warning("the link is down; dialling again", extra=fields(reason=str(error) or "silence"))
            finally:
                self._connection = None
                connection.transport.abort()

    async def _dial(self) -> LinkConnection:
        if self._look_up is not None and self._loop.time() >= self._look_up_at:
            self._look_up_at = self._loop.time() + LOOK_UP_SECONDS
            try:
                self._pairing = await asyncio.to_thread(self._look_up)
            except PairingError as error:
                _log.warning("the pairing cannot be looked up; dialling the last one", extra=fields(reason=error))
        return await dial(self._pairing)

    async def _talk(self, connection: LinkConnection) -> None:
        await connection.send(encode_frame(self._hello))
        async with asyncio.timeout(WELCOME_SECONDS):
            while not isinstance(message := decode_down(await connection.recv()), Welcome):
                self._heard(message)
        _log.info("serving environments", extra=fields(run_id=message.run_id))
        connection.on_message = partial(self._hear, connection)
        self._connection = connection
        pinging = asyncio.ensure_future(self._ping(connection))
        try:
            # What came between the two is heard here, then nothing more.
            async for frame in connection:
                self._heard(decode_down(frame))
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        raise TimeoutError("the connection ended")

    def _hear(self, connection: LinkConnection, frame: bytes) -> None:
        try:
            self._heard(decode_down(frame))
        except FrameError as error:
            _log.error("the receiver sends what cannot be read", extra=fields(reason=str(error)))
            connection.transport.abort()

    def _heard(self, message: DownMessage) -> None:
        match message:
            case EnvCall():
                self._host.ask(message)
            case Error(text=text):
                _log.error("the receiver says", extra=fields(text=text))
            case Drain(reason=reason):
                _log.info("the instance is going away, or soon will be; it is dialled on", extra=fields(reason=reason))

    async def _ping(self, connection: LinkConnection) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self._loop.time() - connection.heard_at > SILENCE_SECONDS:
                connection.transport.abort()
                return
            # Also while much comes, of which the receiver hears nothing; and without waiting for what is to be sent,
            # which a dead link never takes.
            connection.send_now(encode_frame(Ping(self._loop.time())))

    def _answer(self, result: EnvResult) -> None:
        """Send an answer, from any thread; one that finds no connection is sent when it is asked for again."""
        try:
            self._loop.call_soon_threadsafe(self._send, result)
        except RuntimeError:
            # The end.
            return

    def _send(self, result: EnvResult) -> None:
        if self._connection is None:
            return
        if self._connection.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            _log.error("the receiver asks on and on, and does not read what it is answered")
            self._connection.transport.abort()
            self._connection = None
            return
        self._connection.send_now(encode_frame(result))

"""The receiver's side of the wire over a real socket, with its memory in plain lists: for tests of the bridge.

It keeps the rules of the protocol (token, subprotocol, Welcome, Inbox, Ack) and lets a test say what to answer. It is
not the receiver: nothing is durable, nothing is trained.
"""

import asyncio
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from wire.delivery import Inbox, Verdict
from wire.frames import decode_up, encode_frame
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    Ack,
    DownMessage,
    Error,
    ErrorCode,
    Hello,
    Ping,
    Pong,
    Report,
    Telemetry,
    TrackAnnouncement,
    TransitionBatch,
    Welcome,
)
from wire.pairing import Pairing, parse_basic_auth

TOKEN = "abcdefghijklmnop0123456789"
_T = TypeVar("_T")


class WireServer:
    """Serves from `__enter__` to `__exit__`; all attributes may be read and set from the test's thread."""

    def __init__(self, tls: ssl.SSLContext | None = None, subprotocol: str = PROTOCOL) -> None:
        self.port = 0
        self.stored: defaultdict[str, list[bytes]] = defaultdict(list)
        """Blobs of each stream, in order."""
        self.safe: defaultdict[str, int] = defaultdict(int)
        self.safe_at_once = True
        self.run_id = "test-run"
        self.stored_steps = 0
        self.trained_steps = 0
        self.max_lead_steps = 10**9
        self.done = False
        self.hellos: list[Hello] = []
        self.reports: list[Report] = []
        self.tracks: list[bytes] = []
        self.wants_track = False
        self.takes_telemetry = False
        self.telemetry: list[tuple[float, Telemetry]] = []
        """With when it came, monotonic, s."""
        self.telemetry_bytes = 0
        self.requests: list[Request] = []
        self.pings = 0
        self.refuse_batch: Callable[[TransitionBatch], Error | None] = lambda _batch: None
        self.refuse_hello: Callable[[Hello], Error | None] = lambda _hello: None
        self.turn_away: HTTPStatus | None = None
        """Every call is answered with it, if set."""
        self.greeting: list[DownMessage] = []
        """Sent after each Welcome."""
        self._tls, self._subprotocol = tls, subprotocol
        self._open: set[ServerConnection] = set()
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire-server", daemon=True)

    def __enter__(self) -> "WireServer":
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.close()

    @property
    def pairing(self) -> Pairing:
        """How to dial it, without a pin."""
        return Pairing("127.0.0.1", self.port, TOKEN, tls=self._tls is not None)

    @property
    def connections(self) -> int:
        """Bridges connected now."""
        return len(self._open)

    def listen(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        self._call(self._listen())

    def vanish(self) -> None:
        """Stop listening and cut every connection."""
        self._call(self._vanish())

    def push(self, message: DownMessage) -> None:
        """Send `message` to everybody who is connected."""

        async def send() -> None:
            for connection in list(self._open):
                await connection.send(encode_frame(message))

        self._call(send())

    async def _listen(self) -> None:
        self._server = await serve(
            self._converse,
            "127.0.0.1",
            self.port,
            subprotocols=[Subprotocol(self._subprotocol)],
            process_request=self._admit,
            compression=None,
            max_size=MAX_UP_FRAME_BYTES,
            ssl=self._tls,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _vanish(self) -> None:
        if self._server is not None:
            self._server.close(close_connections=False)
            for connection in list(self._open):
                connection.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.turn_away is not None:
            return connection.respond(self.turn_away, "not here\n")
        if parse_basic_auth(request.headers.get("Authorization")) != TOKEN:
            return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong token\n")
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        try:
            hello = decode_up(await connection.recv())
            assert isinstance(hello, Hello)
            self.hellos.append(hello)
            if (refusal := self.refuse_hello(hello)) is not None:
                await connection.send(encode_frame(refusal))
                return
            self._open.add(connection)
            blobs = self.stored[hello.stream]
            inbox = Inbox(len(blobs))
            await connection.send(encode_frame(self._welcome(hello.stream)))
            for message in self.greeting:
                await connection.send(encode_frame(message))
            async for frame in connection:
                for answer in self._answers(hello.stream, inbox, decode_up(frame)):
                    await connection.send(encode_frame(answer))
        except ConnectionClosed:
            pass
        finally:
            self._open.discard(connection)

    def _welcome(self, stream: str) -> Welcome:
        return Welcome(
            self.run_id,
            len(self.stored[stream]),
            self.safe[stream],
            self.stored_steps,
            self.trained_steps,
            self.max_lead_steps,
            self.done,
            self.wants_track,
            self.takes_telemetry,
        )

    def _answers(self, stream: str, inbox: Inbox, message: object) -> list[DownMessage]:
        match message:
            case Ping():
                self.pings += 1
                return [Pong(message.time)]
            case Report():
                self.reports.append(message)
                return []
            case Telemetry() if self.takes_telemetry:
                self.telemetry.append((time.monotonic(), message))
                self.telemetry_bytes += len(encode_frame(message))
                return []
            case TrackAnnouncement():
                self.tracks.append(message.content)
                return []
            case TransitionBatch():
                if (refusal := self.refuse_batch(message)) is not None:
                    return [refusal]
                verdict = inbox.judge(message.number)
                if verdict is Verdict.OUT_OF_ORDER:
                    return [Error(ErrorCode.OUT_OF_ORDER, f"expected {inbox.accepted_through + 1}")]
                if verdict is Verdict.STORE:
                    inbox.accepted(message.number)
                    self.stored[stream].append(message.blob)
                    if self.safe_at_once:
                        self.safe[stream] = message.number
                return [Ack(len(self.stored[stream]), self.safe[stream])]
        raise AssertionError(f"a bridge does not say {message}")

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

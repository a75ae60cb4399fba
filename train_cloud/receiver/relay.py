"""Brings the trainer's calls to the PC whose environments they are for, and the answers back; it looks into neither.

The trainer's side is a Unix socket in the run's folder, which only this machine's users reach; the PC's side is a
bridge's connection. Promises that a call is on its way until it is answered: a bridge that comes back is asked again
what it has not answered, and does it once. A bridge that stays away, or comes back as another process, is an error
that the trainer can recover from.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.typing import Subprotocol

from experience.remote_calls import CallError, Make, read_body
from experience.values import pack
from runtime.logs import fields
from runtime.prompt_frames import PromptConnection
from train_cloud.receiver.connection import Connection, PeerError, decode_message
from wire.frames import FrameError, decode_down, encode_frame
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    CloseCode,
    EnvAction,
    EnvCall,
    EnvErrorCode,
    EnvResult,
    ErrorCode,
    Hello,
    Ping,
    Pong,
    Welcome,
)

GONE_SECONDS: Final = 10.0
"""A bridge that has not come back for so long is gone, and the trainer is told so."""
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Bridge:
    """A connected process that serves environments."""

    socket: PromptConnection
    hello: Hello


@dataclass(eq=False)
class _Client:
    """Who steps an environment. Attributes: socket: where it asks; stream: of the process that made its environment."""

    socket: PromptConnection
    stream: str = ""
    pending: EnvCall | None = None
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Relay:
    """Between the trainer's sockets and the bridges'; lives in one event loop."""

    def __init__(self) -> None:
        self._bridges: dict[str, _Bridge] = {}
        self._clients: dict[str, _Client] = {}

    async def serve_bridge(self, connection: Connection, hello: Hello, welcome: Welcome) -> None:
        """Talk to a bridge that serves environments, until its connection ends; may raise PeerError."""
        if not hello.environments:
            raise PeerError(ErrorCode.BAD_MESSAGE, "This bridge serves environments and names none.", CloseCode.REFUSED)
        socket = connection.socket
        socket.protocol.max_message_size = MAX_UP_FRAME_BYTES
        bridge, before = _Bridge(socket, hello), self._bridges.get(hello.stream)
        self._bridges[hello.stream] = bridge
        if before is not None:
            before.socket.transport.abort()
        socket.on_message = partial(self._heard, bridge)
        await socket.send(encode_frame(welcome))
        self._greet(bridge)
        try:
            async for _frame in socket:
                raise PeerError(ErrorCode.BAD_MESSAGE, "Environments answer in binary frames.", CloseCode.INVALID_DATA)
        finally:
            if self._bridges.get(hello.stream) is bridge:
                del self._bridges[hello.stream]
                self._lost(hello.stream)

    def _heard(self, bridge: _Bridge, frame: bytes) -> None:
        try:
            match message := decode_message(frame):
                case EnvResult():
                    self._answered(message, bridge)
                case Ping(time=at):
                    bridge.socket.send_now(encode_frame(Pong(at)))
                case _:
                    text = f"A bridge that serves environments does not say {type(message).__name__}."
                    raise PeerError(ErrorCode.BAD_MESSAGE, text, CloseCode.POLICY_VIOLATION)
        except PeerError as error:
            _log.warning("a bridge that serves environments is let go", extra=fields(reason=error))
            bridge.socket.send_now(encode_frame(error.message))
            bridge.socket.protocol.fail(error.close, error.message.code)
            bridge.socket.send_data()

    async def serve_trainer(self, socket: ServerConnection) -> None:
        """Take the calls of one trainer's connection, until it ends."""
        assert isinstance(socket, TrainerConnection)
        socket.on_message = partial(self._called, socket)
        await socket.wait_closed()

    def _called(self, socket: PromptConnection, frame: bytes) -> None:
        try:
            message = decode_down(frame)
            assert isinstance(message, EnvCall)
            self._asked(message, socket)
        except (FrameError, AssertionError):
            socket.transport.abort()

    def _asked(self, call: EnvCall, socket: PromptConnection) -> None:
        client = self._clients.setdefault(call.client, _Client(socket))
        client.socket, client.pending = socket, call
        if call.what is EnvAction.MAKE and client.stream not in self._bridges:
            client.stream = self._choose(call)
        self._ask(client)

    def _choose(self, call: EnvCall) -> str:
        """The process that is to make an environment: of those that offer it, the one with the fewest clients."""
        try:
            name = read_body(call.body, Make).name
        except CallError:
            name = ""
        busy = [client.stream for client in self._clients.values()]
        offering = [stream for stream, bridge in self._bridges.items() if name in bridge.hello.environments]
        return min(offering, key=busy.count, default="")

    def _ask(self, client: _Client) -> None:
        """Send what the client asks for, or wait a moment for the bridge that it is for."""
        assert client.pending is not None
        bridge = self._bridges.get(client.stream)
        if bridge is not None:
            # Over a connection that ends just now it is lost, and asked again over the next.
            bridge.socket.send_now(encode_frame(client.pending))
        elif client.timer is None and client.pending.what is not EnvAction.MAKE:
            client.timer = asyncio.get_running_loop().call_later(GONE_SECONDS, self._give_up, client)

    def _answered(self, result: EnvResult, bridge: _Bridge) -> None:
        client = self._clients.get(result.client)
        if client is None or client.pending is None or client.stream != bridge.hello.stream:
            return
        if client.pending.number == result.number:
            if client.pending.what is EnvAction.CLOSE:
                del self._clients[result.client]
            client.pending = None
            client.socket.send_now(encode_frame(result))

    def _greet(self, bridge: _Bridge) -> None:
        """Ask a bridge that has come, or come back, what waits for it."""
        stream = bridge.hello.stream
        for client in list(self._clients.values()):
            if client.timer is not None and client.stream == stream:
                client.timer.cancel()
                client.timer = None
            if client.pending is None:
                continue
            if client.pending.what is EnvAction.MAKE and client.stream not in self._bridges:
                client.stream = self._choose(client.pending)
            if client.stream == stream:
                self._ask(client)

    def _lost(self, stream: str) -> None:
        for client in self._clients.values():
            if client.stream == stream and client.pending is not None and client.timer is None:
                client.timer = asyncio.get_running_loop().call_later(GONE_SECONDS, self._give_up, client)

    def _give_up(self, client: _Client) -> None:
        client.timer = None
        call, client.pending = client.pending, None
        if call is None or client.stream in self._bridges:
            return
        text = f"The PC that steps this environment has been gone for {GONE_SECONDS:.0f} s. Is its bridge running?"
        _log.warning("a PC that serves environments is gone", extra=fields(stream=client.stream))
        refusal = EnvResult(call.client, call.number, 0.0, pack(text), EnvErrorCode.NO_BRIDGE)
        client.socket.send_now(encode_frame(refusal))


class TrainerConnection(PromptConnection, ServerConnection):
    """The trainer's end."""


async def listen_for_calls(relay: Relay, path: Path) -> Server:
    """The trainer's listener at `path`; a socket that an earlier process left there is replaced."""
    path.unlink(missing_ok=True)
    return await unix_serve(
        relay.serve_trainer,
        str(path),
        create_connection=TrainerConnection,
        subprotocols=[Subprotocol(PROTOCOL)],
        compression=None,
        max_size=MAX_UP_FRAME_BYTES,
        ping_interval=None,
        server_header=None,
    )

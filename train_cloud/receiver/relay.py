"""Brings the trainer's calls to the PC whose environments they are for, and the answers back; it looks into neither.

The trainer's side is a Unix socket in the run's folder, which only this machine's users reach; the PC's side is a
bridge's connection. Promises that a call is on its way until it is answered: a bridge that comes back is asked again
what it has not answered, and does it once. A bridge that stays away, or comes back as another process, is an error
that the trainer can recover from. After a start of the receiver, the bridge that knows a client is found by asking.
"""

import asyncio
import logging
import socket
from collections.abc import Set
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
from runtime.socket_path import short_path
from train_cloud.receiver.connection import Connection, PeerError, decode_message
from train_cloud.receiver.intake import BoundedConnection
from wire.frames import FrameError, decode_down, encode_frame
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    CloseCode,
    Drain,
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
SILENCE_SECONDS: Final = 4.5
"""A bridge that was not heard for so long is let go; it speaks twice a second. Somebody waits for its answer."""
CLOSE_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 0.5
"""A trainer that is busy with something else says no goodbye, and is waited for no longer when the receiver ends."""
MET_KEPT: Final = 10_000
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Bridge:
    """A connected process that serves environments; `owed` are its answers to what it was asked."""

    socket: BoundedConnection
    hello: Hello
    owed: int = 0

    def ask(self, call: EnvCall) -> None:
        """Over a connection that ends just now it is lost, and asked again over the next."""
        self.owed += 1
        self.socket.call(encode_frame(call))


@dataclass(eq=False)
class _Client:
    """Who steps an environment.

    Attributes: socket: where it asks; stream: of the process that made its environment, empty when that is not known;
    bridge: the PC of that process; newest: number of its newest call; strangers: who does not know it, while that is
    asked.
    """

    socket: PromptConnection
    stream: str = ""
    bridge: str = ""
    newest: int = 0
    strangers: set[str] = field(default_factory=set)
    pending: EnvCall | None = None
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class Relay:
    """Between the trainer's sockets and the bridges'; lives in one event loop."""

    def __init__(self) -> None:
        self._bridges: dict[str, _Bridge] = {}
        self._clients: dict[str, _Client] = {}
        self._met: set[str] = set()
        """Streams of the processes that were here."""
        self._ending = False

    def drain(self, reason: str) -> None:
        """Tell all bridges that the instance is going away, for this reason."""
        for bridge in self._bridges.values():
            bridge.socket.send_now(encode_frame(Drain(reason)))

    def end(self) -> None:
        """This receiver ends, and with it the trainers' connections: what they step is asked for again at the next."""
        self._ending = True

    def close(self) -> None:
        """Let all bridges go."""
        for bridge in self._bridges.values():
            bridge.socket.protocol.fail(CloseCode.GOING_AWAY, "draining")
            bridge.socket.send_data()

    @property
    def served(self) -> Set[str]:
        """The streams of the bridges that are connected."""
        return self._bridges.keys()

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
        socket.silence_seconds = SILENCE_SECONDS
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
        if bridge.socket.let_go_for is not None:
            return
        try:
            match message := decode_message(frame):
                case EnvResult():
                    if bridge.owed:
                        bridge.owed -= 1
                    else:
                        bridge.socket.count_unasked()
                    self._answered(message, frame, bridge)
                case Ping(time=at):
                    bridge.socket.count_unasked()
                    bridge.socket.send_now(encode_frame(Pong(at)))
                case _:
                    text = f"A bridge that serves environments does not say {type(message).__name__}."
                    raise PeerError(ErrorCode.BAD_MESSAGE, text, CloseCode.POLICY_VIOLATION)
        except PeerError as error:
            _log.warning("a bridge that serves environments is let go", extra=fields(reason=error))
            bridge.socket.send_now(encode_frame(error.message))
            bridge.socket.let_go(error.close, error.message.code)

    async def serve_trainer(self, socket: ServerConnection) -> None:
        """Take the calls of one trainer's connection, until it ends."""
        assert isinstance(socket, TrainerConnection)
        socket.on_message = partial(self._called, socket)
        try:
            await socket.wait_closed()
        finally:
            self._forget(socket)

    def _forget(self, socket: PromptConnection) -> None:
        """A trainer is gone: have its environments closed, which may be all that a PC steps at the same time."""
        for name, client in [one for one in self._clients.items() if one[1].socket is socket]:
            del self._clients[name]
            self._no_timer(client)
            bridge = self._bridges.get(client.stream)
            if bridge is not None and not self._ending:
                bridge.ask(EnvCall(name, client.newest + 1, EnvAction.CLOSE, CLOSE_SECONDS))

    def _called(self, socket: PromptConnection, frame: bytes) -> None:
        try:
            message = decode_down(frame)
            assert isinstance(message, EnvCall)
            self._asked(message, socket)
        except (FrameError, AssertionError):
            socket.transport.abort()

    def _asked(self, call: EnvCall, socket: PromptConnection) -> None:
        client = self._clients.get(call.client) or self._clients.setdefault(call.client, _Client(socket))
        client.socket, client.pending, client.newest = socket, call, call.number
        # It was of the call before.
        self._no_timer(client)
        if call.what is EnvAction.MAKE:
            self._choose(client, call)
        self._ask(client)

    def _choose(self, client: _Client, call: EnvCall) -> None:
        """Say which process is to make an environment: of those that offer it the last one, else the least busy."""
        try:
            name = read_body(call.body, Make).name
        except CallError:
            name = ""
        busy = [client.stream for client in self._clients.values()]
        offering = [stream for stream, bridge in self._bridges.items() if name in bridge.hello.environments]
        if client.stream not in offering:
            self._belongs(client, self._bridges.get(min(offering, key=busy.count, default="")))

    @staticmethod
    def _belongs(client: _Client, bridge: _Bridge | None) -> None:
        client.stream, client.bridge = ("", "") if bridge is None else (bridge.hello.stream, bridge.hello.bridge)

    def _ask(self, client: _Client) -> None:
        """Send what the client asks for, or wait a moment for the bridge that it is for."""
        assert client.pending is not None
        making = client.pending.what is EnvAction.MAKE
        bridge = self._bridges.get(client.stream)
        asked = [] if bridge is None else [bridge]
        if not client.stream and not making:
            asked = list(self._bridges.values())
        for one in asked:
            one.ask(client.pending)
        if bridge is None and client.timer is None and not making:
            client.timer = asyncio.get_running_loop().call_later(GONE_SECONDS, self._give_up, client)

    def _answered(self, result: EnvResult, frame: bytes, bridge: _Bridge) -> None:
        client = self._clients.get(result.client)
        if client is None or client.pending is None or client.stream not in ("", bridge.hello.stream):
            return
        if client.pending.number == result.number:
            if not client.stream:
                if result.error == EnvErrorCode.UNKNOWN_CLIENT:
                    # Another bridge may know it, or come back.
                    client.strangers.add(bridge.hello.stream)
                    return
                self._belongs(client, bridge)
                self._no_timer(client)
            if client.pending.what is EnvAction.CLOSE:
                del self._clients[result.client]
            client.pending = None
            client.socket.send_now(frame)

    def _greet(self, bridge: _Bridge) -> None:
        """Ask a bridge that has come, or come back, what waits for it."""
        stream, is_new = bridge.hello.stream, bridge.hello.stream not in self._met
        if len(self._met) >= MET_KEPT:
            self._met.clear()
        self._met.add(stream)
        for client in list(self._clients.values()):
            if is_new and client.bridge == bridge.hello.bridge and client.stream not in self._bridges:
                # A new process of the same PC, which says at once that it does not know the client.
                self._belongs(client, bridge)
            if client.stream == stream:
                self._no_timer(client)
            if client.pending is None:
                continue
            if client.pending.what is EnvAction.MAKE and client.stream not in self._bridges:
                self._choose(client, client.pending)
            if client.stream in ("", stream):
                self._ask(client)

    @staticmethod
    def _no_timer(client: _Client) -> None:
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None

    def _lost(self, stream: str) -> None:
        for client in self._clients.values():
            if client.stream == stream and client.pending is not None and client.timer is None:
                client.timer = asyncio.get_running_loop().call_later(GONE_SECONDS, self._give_up, client)

    def _give_up(self, client: _Client) -> None:
        client.timer = None
        call = client.pending
        if call is None or client.stream in self._bridges:
            return
        if not client.stream and not client.strangers.issuperset(self._bridges):
            # One of them does what it is asked, or it would say that it knows nothing of it.
            client.timer = asyncio.get_running_loop().call_later(GONE_SECONDS, self._give_up, client)
            return
        client.pending = None
        text = f"The PC that steps this environment has been gone for {GONE_SECONDS:.0f} s. Is its bridge running?"
        _log.warning("a PC that serves environments is gone", extra=fields(stream=client.stream))
        refusal = EnvResult(call.client, call.number, 0.0, pack(text), EnvErrorCode.NO_BRIDGE)
        client.socket.send_now(encode_frame(refusal))


class TrainerConnection(PromptConnection, ServerConnection):
    """The trainer's end."""


def private_socket(path: Path) -> socket.socket:
    """A listening socket's address at `path`; one that an earlier process left there is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as short:
        listening.bind(short)
        # Whatever the umask is: who can open it can step the environments of all PCs, and drive their cars.
        path.chmod(0o600)
    return listening


async def listen_for_calls(relay: Relay, path: Path) -> Server:
    """The trainer's listener at `path`."""
    return await unix_serve(
        relay.serve_trainer,
        sock=private_socket(path),
        create_connection=TrainerConnection,
        subprotocols=[Subprotocol(PROTOCOL)],
        compression=None,
        max_size=MAX_UP_FRAME_BYTES,
        ping_interval=None,
        close_timeout=GOODBYE_SECONDS,
        server_header=None,
    )

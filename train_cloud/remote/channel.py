"""The way from the trainer to the receiver on the same machine, and back: one call at a time, done once.

A WebSocket over a Unix socket in the run's folder, spoken without threads or an event loop: a call is one write and one
read, between which there may be other work. Where it is cut, because the receiver begins anew, the same call is asked
again, and whoever has done it answers from memory.
"""

import secrets
import select
import socket
import time
from collections import deque
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from experience.remote_calls import read_error
from runtime.prompt_frames import frame_of, message_in
from runtime.socket_path import short_path
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from wire.frames import FrameError, decode_up, encode_frame
from wire.messages import MAX_UP_FRAME_BYTES, PROTOCOL, EnvAction, EnvCall, EnvResult

RETRY_SECONDS = 0.2
"""Between two tries to reach the receiver."""
WRITE_SECONDS = 10.0
"""A receiver that takes nothing for so long counts as one that hung up."""
_CHUNK_BYTES = 2**16
_URI = parse_uri("ws://localhost/")


class Channel:
    """The calls of one client; `path` is the receiver's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client, self._number = secrets.token_hex(16), 0
        self._socket: socket.socket | None = None
        self._heard: deque[bytes] = deque()
        self._call = b""
        self._asked = False
        """Whether the call was sent over the connection that there is now."""
        self._result: EnvResult | None = None
        self._began = self._deadline = self._retry_at = 0.0
        self.remote_seconds = 0.0
        """Spent in the environment by the newest call."""
        self.overhead_seconds = 0.0
        """Everything else that the newest call took."""

    def call(self, what: EnvAction, body: bytes, seconds: float) -> bytes:
        """The answer's body. Raises RemoteEnvError, also when there is none within `seconds`."""
        self.send(what, body, seconds)
        while (answer := self.receive(seconds)) is None:
            pass
        return answer

    def send(self, what: EnvAction, body: bytes, seconds: float) -> None:
        """Begin a call, whose answer `receive` brings; one that is under way is given up."""
        self._number += 1
        self._call, self._asked = encode_frame(EnvCall(self._client, self._number, what, seconds, body)), False
        self._result = None
        self._began = time.monotonic()
        self._deadline = self._began + seconds
        self._advance(None)

    def receive(self, seconds: float) -> bytes | None:
        """The answer's body, waited for at most `seconds`; None when it is not there by then.

        Raises RemoteEnvError, also when the call's own time is over.
        """
        self._advance(min(self._deadline, time.monotonic() + seconds))
        result, now = self._result, time.monotonic()
        if result is None and now < self._deadline:
            return None
        if result is None:
            raise RemoteEnvError(
                NO_ANSWER,
                "The PC's environment did not answer in time. It may be gone, hang, or need longer than it is given: "
                "look at the bridge's log.",
            )
        took = now - self._began
        self.remote_seconds = min(result.seconds, took)
        self.overhead_seconds = took - self.remote_seconds
        if result.error is not None:
            # That nobody answered is for this side to say.
            code = "bad_answer" if result.error == NO_ANSWER else result.error
            raise RemoteEnvError(code, read_error(result.body))
        return result.body

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _advance(self, until: float | None) -> None:
        """Bring the call on its way and its answer here, as far as that goes until then; over a cut, once more.

        None: only on its way, where there is a connection.
        """
        while self._result is None:
            try:
                if self._socket is None and time.monotonic() >= self._retry_at:
                    self._connect()
                while self._socket is not None:
                    if not self._asked and self._protocol.state is State.OPEN:
                        self._asked = True
                        self._write(frame_of(self._call, self._protocol))
                    self._result = self._answer()
                    if self._result is not None or until is None or not self._read(until):
                        return
            except (OSError, InvalidHandshake, FrameError):
                self.close()
                self._retry_at = time.monotonic() + RETRY_SECONDS
            now = time.monotonic()
            if until is None or now >= until:
                return
            time.sleep(max(0.0, min(self._retry_at, until) - now))

    def _answer(self) -> EnvResult | None:
        """The answer among what has come; what answers a call that was given up is passed over."""
        while self._heard:
            message = decode_up(self._heard.popleft())
            if isinstance(message, EnvResult) and message.number == self._number:
                return message
        return None

    def _connect(self) -> None:
        self._socket, self._asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), False
        self._socket.settimeout(WRITE_SECONDS)
        with short_path(self._path) as path:
            self._socket.connect(path)
        # Whoever sets a timeout for each call makes four system calls out of one.
        self._socket.setblocking(False)
        self._ready = select.poll()
        self._protocol = ClientProtocol(_URI, subprotocols=[Subprotocol(PROTOCOL)], max_size=MAX_UP_FRAME_BYTES)
        self._heard.clear()
        self._protocol.send_request(self._protocol.connect())
        self._write(*self._protocol.data_to_send())

    def _write(self, *pieces: bytes) -> None:
        """Send this. On the same machine that takes no time, unless the receiver is stuck: a cut."""
        assert self._socket is not None
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    if not self._can(select.POLLOUT, WRITE_SECONDS):
                        raise

    def _read(self, until: float) -> bool:
        """Take in what comes until then; whether anything did."""
        assert self._socket is not None
        if not self._can(select.POLLIN, until - time.monotonic()):
            return False
        if not (data := self._socket.recv(_CHUNK_BYTES)):
            raise ConnectionError("the receiver hung up")
        if (message := message_in(data, self._protocol)) is not None:
            self._heard.append(message)
            return True
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is not None:
                    raise self._protocol.handshake_exc
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY and event.fin:
                self._heard.append(bytes(event.data))
            elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                raise ConnectionError("the receiver hung up")
        self._write(*self._protocol.data_to_send())
        return True

    def _can(self, what: int, seconds: float) -> bool:
        """Whether the socket can be read or written within `seconds`."""
        assert self._socket is not None
        self._ready.register(self._socket, what)
        return bool(self._ready.poll(1000.0 * max(0.0, seconds)))

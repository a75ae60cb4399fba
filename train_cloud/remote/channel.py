"""The way from the trainer to the receiver on the same machine, and back: one call at a time, done once.

A WebSocket over a Unix socket in the run's folder, spoken without threads or an event loop: a call is one write and one
read, between which there may be other work. Where it is cut, because the receiver begins anew, the same call is asked
again, and whoever has done it answers from memory.
"""

import secrets
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
from runtime.socket_path import short_path
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from wire.frames import FrameError, decode_up, encode_frame
from wire.messages import MAX_UP_FRAME_BYTES, PROTOCOL, EnvAction, EnvCall, EnvResult

RETRY_SECONDS = 0.2
"""Between two tries to reach the receiver."""
WRITE_SECONDS = 10.0
"""A receiver that takes nothing for so long counts as one that hung up."""
_CHUNK_BYTES = 2**20
_URI = parse_uri("ws://localhost/")


class Channel:
    """The calls of one client; `path` is the receiver's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client, self._number = secrets.token_hex(16), 0
        self._socket: socket.socket | None = None
        self._frames: deque[Frame] = deque()
        self._frame = b""
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
        self._frame, self._asked = encode_frame(EnvCall(self._client, self._number, what, seconds, body)), False
        self._result = None
        self._began = time.monotonic()
        self._deadline = self._began + seconds
        self._advance(self._began)

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

    def _advance(self, until: float) -> None:
        """Bring the call on its way and its answer here, as far as that goes until then; over a cut, once more."""
        while self._result is None:
            try:
                if self._socket is None and time.monotonic() >= self._retry_at:
                    self._connect()
                while self._socket is not None:
                    if not self._asked and self._protocol.state is State.OPEN:
                        self._asked = True
                        self._protocol.send_binary(self._frame)
                        self._write()
                    self._result = self._heard()
                    if self._result is not None or not self._read(until):
                        return
            except (OSError, InvalidHandshake, FrameError):
                self.close()
                self._retry_at = time.monotonic() + RETRY_SECONDS
            now = time.monotonic()
            if now >= until:
                return
            time.sleep(max(0.0, min(self._retry_at, until) - now))

    def _heard(self) -> EnvResult | None:
        """The answer among what has come; what answers a call that was given up is passed over."""
        while self._frames:
            frame = self._frames.popleft()
            if frame.opcode is Opcode.BINARY and frame.fin:
                message = decode_up(bytes(frame.data))
                if isinstance(message, EnvResult) and message.number == self._number:
                    return message
            elif frame.opcode is Opcode.CLOSE:
                raise ConnectionError("the receiver hung up")
        return None

    def _connect(self) -> None:
        self._socket, self._asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), False
        self._socket.settimeout(WRITE_SECONDS)
        with short_path(self._path) as path:
            self._socket.connect(path)
        self._protocol = ClientProtocol(_URI, subprotocols=[Subprotocol(PROTOCOL)], max_size=MAX_UP_FRAME_BYTES)
        self._frames.clear()
        self._protocol.send_request(self._protocol.connect())
        self._write()

    def _write(self) -> None:
        """Send what is to be sent. On the same machine that takes no time, unless the receiver is stuck: a cut."""
        assert self._socket is not None
        self._socket.settimeout(WRITE_SECONDS)
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)

    def _read(self, until: float) -> bool:
        """Take in what comes until then; whether anything did."""
        assert self._socket is not None
        self._socket.settimeout(max(0.0, until - time.monotonic()))
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except (TimeoutError, BlockingIOError):
            return False
        if not data:
            raise ConnectionError("the receiver hung up")
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is not None:
                    raise self._protocol.handshake_exc
            elif isinstance(event, Frame):
                self._frames.append(event)
        self._write()
        return True

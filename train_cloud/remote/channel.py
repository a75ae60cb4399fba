"""The way from the trainer to the receiver on the same machine, and back: one call at a time, done once.

A WebSocket over a Unix socket in the run's folder, spoken without threads or an event loop: a call is one write and one
read. Where it is cut, because the receiver begins anew, the same call is asked again, and whoever has done it answers
from memory.
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

from experience.values import ValuesError, unpack
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from wire.frames import FrameError, decode_up, encode_frame
from wire.messages import MAX_UP_FRAME_BYTES, PROTOCOL, EnvAction, EnvCall, EnvResult

RETRY_SECONDS = 0.2
"""Between two tries to reach the receiver."""
_CHUNK_BYTES = 2**20
_URI = parse_uri("ws://localhost/")


class Channel:
    """The calls of one client; `path` is the receiver's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client, self._number = secrets.token_hex(16), 0
        self._socket: socket.socket | None = None
        self._frames: deque[Frame] = deque()
        self.remote_seconds = 0.0
        """Spent in the environment by the newest call."""
        self.overhead_seconds = 0.0
        """Everything else that the newest call took."""

    def call(self, what: EnvAction, body: bytes, seconds: float) -> bytes:
        """The answer's body. Raises RemoteEnvError, also when there is none within `seconds`."""
        self._number += 1
        frame = encode_frame(EnvCall(self._client, self._number, what, seconds, body))
        began = time.monotonic()
        result = self._answer(frame, began + seconds)
        self.remote_seconds = result.seconds
        self.overhead_seconds = time.monotonic() - began - result.seconds
        if result.error is not None:
            raise RemoteEnvError(result.error, _text(result.body))
        return result.body

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, frame: bytes, deadline: float) -> EnvResult:
        while time.monotonic() < deadline:
            try:
                self._send(frame, deadline)
                while (result := self._receive(deadline)).number != self._number:
                    # It answers a call that was given up.
                    pass
                return result
            except (OSError, InvalidHandshake, FrameError):
                self.close()
                time.sleep(min(RETRY_SECONDS, max(0.0, deadline - time.monotonic())))
        raise RemoteEnvError(
            NO_ANSWER,
            "The PC's environment did not answer in time. It may be gone, hang, or need longer than it is given: look "
            "at the bridge's log.",
        )

    def _send(self, frame: bytes, deadline: float) -> None:
        if self._socket is None:
            self._connect(deadline)
        self._protocol.send_binary(frame)
        self._write(deadline)

    def _receive(self, deadline: float) -> EnvResult:
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if frame.opcode is Opcode.BINARY and frame.fin:
                    message = decode_up(bytes(frame.data))
                    if isinstance(message, EnvResult):
                        return message
                elif frame.opcode is Opcode.CLOSE:
                    raise ConnectionError("the receiver hung up")
            self._read(deadline)

    def _connect(self, deadline: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_left(deadline))
        self._socket.connect(str(self._path))
        self._protocol = ClientProtocol(_URI, subprotocols=[Subprotocol(PROTOCOL)], max_size=MAX_UP_FRAME_BYTES)
        self._frames.clear()
        self._protocol.send_request(self._protocol.connect())
        self._write(deadline)
        while self._protocol.state is State.CONNECTING:
            self._read(deadline)

    def _write(self, deadline: float) -> None:
        assert self._socket is not None
        self._socket.settimeout(_left(deadline))
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)

    def _read(self, deadline: float) -> None:
        assert self._socket is not None
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionError("the receiver hung up")
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is not None:
                    raise self._protocol.handshake_exc
            elif isinstance(event, Frame):
                self._frames.append(event)
        self._write(deadline)


def _left(deadline: float) -> float:
    return max(1e-3, deadline - time.monotonic())


def _text(body: bytes) -> str:
    try:
        return str(unpack(body))
    except ValuesError:
        return "The answer is an error whose text cannot be read."

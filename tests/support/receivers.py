"""Real receivers for tests, in a thread or as a process of their own, and a plain client that says what it is told."""

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from experience.codec import encode_batch
from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.receiver.server import Receiver
from train_cloud.receiver.telemetry_files import TelemetryFiles
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import TOKEN_VARIABLE
from train_cloud.store import Store
from wire.frames import decode_down, encode_frame, encode_text
from wire.messages import PROTOCOL, Ack, DownMessage, Hello, Ping, Pong, Role, TransitionBatch, UpMessage, Welcome
from wire.pairing import Pairing, basic_auth_header, parse_pairing

TOKEN = "0123456789abcdefToken"
CONFIG = run_config(run_id="receiver-test", max_bridges=8)
"""What a ThreadedReceiver of the fixture `receiver` runs."""
REMOTE = run_config(
    run_id="receiver-test",
    max_bridges=8,
    environment={"kind": "gymnasium", "id": "Pendulum-v1", "source": "remote"},
)
"""As CONFIG, of a run that steps environments of PCs."""
_Down = TypeVar("_Down", bound=DownMessage)


def blob(number: int) -> bytes:
    """A valid batch of 20 steps; a number's content is always the same."""
    return encode_batch(made_up_batch(number))


def hello(config: RunConfig, stream: str = "a" * 32, bridge: str = "pc-a", **changes: Any) -> Hello:
    """A Hello that belongs to the run, with `changes` applied."""
    first = Hello(
        bridge=bridge,
        stream=stream,
        role=Role.COLLECT,
        signature=racing(task_config(config)).signature,
        spaces=racing().spaces.text,
        real_time=False,
        cars=1,
        last_number=0,
        weights_version=0,
        software="test",
    )
    return msgspec.structs.replace(first, **changes)


class Client:
    """One connection; `say` sends any message, `hear` waits for one of a kind and passes others over."""

    def __init__(self, pairing: Pairing, text: bool = False, **changes: Any) -> None:
        context = None
        if pairing.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            # This client of websockets reads in a thread of its own, and OpenSSL suffers no reading beside writing: the
            # session tickets that TLS 1.3 sends on its own lost 3 of 3,172 handshakes, TLS 1.2 none of 5,115. The
            # bridge, which has one thread for both, speaks TLS 1.3 in its own tests.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        options: dict[str, Any] = {
            "subprotocols": [Subprotocol(PROTOCOL)],
            "additional_headers": {"Authorization": basic_auth_header(pairing.token)},
            "compression": None,
            "max_size": None,
            "ssl": context,
            "open_timeout": 120,
            "close_timeout": 2,
        }
        self.text = text
        self.socket: ClientConnection = connect(pairing.url, **(options | changes)).__enter__()
        self.heard: list[DownMessage] = []

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def say(self, message: UpMessage) -> None:
        """Send one message."""
        self.socket.send(encode_text(message) if self.text else encode_frame(message))

    def hear(self, kind: type[_Down], when: Callable[[_Down], bool] = lambda _: True, seconds: float = 60) -> _Down:
        """The next message of this kind for which `when` holds."""
        while True:
            frame = self.socket.recv(timeout=seconds)
            assert isinstance(frame, str) == self.text
            message = decode_down(frame)
            self.heard.append(message)
            if isinstance(message, kind) and when(message):
                return message

    def begin(self, first: Hello) -> Welcome:
        """Say Hello and hear the Welcome."""
        self.say(first)
        return self.hear(Welcome)

    def blurt(self, message: UpMessage | bytes) -> None:
        """Send a message or a raw binary frame, whether the receiver still listens or not."""
        with contextlib.suppress(ConnectionClosed):
            self.socket.send(message if isinstance(message, bytes) else encode_frame(message))

    def store(self, *numbers: int) -> None:
        """Send these batches and wait until the last is acknowledged as stored."""
        for number in numbers:
            self.say(TransitionBatch(number, blob(number)))
        self.hear(Ack, lambda ack: ack.stored_through >= numbers[-1])

    def round_trip(self) -> float:
        """Seconds until a Ping was answered."""
        began = time.monotonic()
        self.say(Ping(began))
        self.hear(Pong, lambda pong: pong.time == began)
        return time.monotonic() - began

    def close_code(self, seconds: float = 60) -> int | None:
        """The code with which the receiver closed; what it said before is in `heard`."""
        try:
            while True:
                self.heard.append(decode_down(self.socket.recv(timeout=seconds)))
        except ConnectionClosed:
            return self.socket.close_code


class ThreadedReceiver:
    """A Receiver on a free port of loopback, without TLS, in a thread; its store is open to the test."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        max_bytes: int | None = None,
        telemetry: TelemetryFiles | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.config = msgspec.structs.replace(config, listen_host="127.0.0.1", listen_port=0)
        self.store = Store(folder / "store.db", max_bytes)
        self.receiver = Receiver(self.config, self.store, TOKEN, telemetry, show)
        self.stop = threading.Event()
        self.flush: Callable[[float], bool] = lambda _: True
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.port > 0, "the receiver listens")

    def _run(self) -> None:
        def listening(port: int) -> None:
            self.port = port

        asyncio.run(self.receiver.serve(self.stop, None, listening, lambda seconds: self.flush(seconds)))

    @property
    def pairing(self) -> Pairing:
        return Pairing("127.0.0.1", self.port, TOKEN, tls=False)

    def stored_numbers(self, stream: str) -> list[int]:
        """Numbers of the stream's batches in the store, in the order in which they were stored."""
        return [row.number for row in self.store.read_batches(0, 10**6) if row.stream == stream]

    def client(self, text: bool = False, **changes: Any) -> Client:
        """A connection that has said nothing yet."""
        return Client(self.pairing, text, **changes)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(120)
        self.store.close()


def _program(patience_seconds: float | None) -> list[str]:
    """Python's options for the receiver; with `patience_seconds` it waits so long for S3, and no longer."""
    if patience_seconds is None:
        return ["-m", "train_cloud.receiver"]
    start = "import runpy, train_cloud.object_store as o; "
    start += f"o.PATIENCE_SECONDS = {patience_seconds}; runpy.run_module('train_cloud.receiver', run_name='__main__')"
    return ["-c", start]


class ReceiverProcess:
    """`python -m train_cloud.receiver` in `folder`; started at once, listening after `pairing()`."""

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        *arguments: str,
        patience_seconds: float | None = None,
        token: str = TOKEN,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.store_file = folder, folder / "store.db"
        (folder / "run.json").write_bytes(msgspec.json.encode(config))
        (folder / "token.txt").write_text(token, encoding="utf-8")
        # What an earlier process wrote is not this one's address.
        (folder / "pairing.txt").unlink(missing_ok=True)
        self.log = folder / "receiver.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *_program(patience_seconds),
                    "--config",
                    str(folder / "run.json"),
                    "--folder",
                    str(folder),
                    *arguments,
                ],
                env=os.environ | {TOKEN_VARIABLE: str(folder / "token.txt")},
                stderr=log,
            )

    def pairing(self, seconds: float = 20) -> Pairing:
        """How to reach it, once it listens."""
        file = self.folder / "pairing.txt"
        wait_until(lambda: file.exists() or self.process.poll() is not None, "the receiver listens", seconds)
        assert self.process.poll() is None, self.log_text()
        return parse_pairing(file.read_text(encoding="utf-8"))

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def kill(self) -> None:
        """Kill it without a warning."""
        self.process.kill()
        self.process.wait(120)

    def terminate(self, seconds: float = 120) -> int:
        """Ask it to end in order and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


@contextlib.contextmanager
def receiver_process(
    config: RunConfig, folder: Path, *arguments: str, patience_seconds: float | None = None
) -> Iterator[ReceiverProcess]:
    """A receiver process that does not outlive the block."""
    running = ReceiverProcess(config, folder, *arguments, patience_seconds=patience_seconds)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()

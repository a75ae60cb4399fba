"""Between the bridges whose cars a driver in the cloud drives, and that driver, a process of this machine.

Promises that a driver that is slow, dead or not there costs nobody anything: of what it does not take, the newest
frames of each bridge are kept, and it is told how many were dropped; that what it says goes to the bridge that it is
for alone, and of chunks only the newest; and that a bridge is told when there is no driver, at once, or when one hangs.
Of several drivers, the last one that came drives.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from runtime.logs import fields
from train_cloud.driver_messages import MAX_BYTES, Joined, Left, Say, Seen, ToDriver, encode, from_driver
from train_cloud.receiver.relay import private_socket
from train_cloud.run_folder.files import DRIVER, EXPERIENCE
from train_cloud.turns import Turns
from wire.messages import MAX_UP_FRAME_BYTES, PROTOCOL, DownMessage, DriverState, Hello, Telemetry

ASK_SECONDS: Final = 2.0
"""Between two signs of life that are asked of the driver."""
HANG_SECONDS: Final = 8.0
"""A driver that gives none for so long is let go."""
GOODBYE_SECONDS: Final = 0.5
NO_DRIVER: Final = (
    "None is connected to the receiver. If it stays so: does the service ac-driver run, or the process `driver` of "
    "`make serve`? Its log says more."
)

_log = logging.getLogger(__name__)


class _Line:
    """What waits to be told to one driver, over `socket`."""

    def __init__(self, socket: ServerConnection, news: Iterable[Joined]) -> None:
        self.socket = socket
        self._turns = Turns()
        self._wake = asyncio.Event()
        for one in news:
            self.tell(one)

    def tell(self, news: ToDriver) -> None:
        """Tell it soon, after what was told of the same bridge before."""
        self._turns.put(news)
        self._wake.set()

    async def keep_telling(self) -> None:
        """Tell it, as fast as it listens, until cancelled or its connection ends."""
        with suppress(ConnectionClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._turns:
                    await self.socket.send(encode(self._turns.take()))


class DriverRelay:
    """The driven bridges of one receiver, a `train_cloud.receiver.stream.Listener`; lives in its event loop.

    `post` sends a message to the bridge of a stream.
    """

    def __init__(self, post: Callable[[str, DownMessage], bool]) -> None:
        self._post = post
        self._bridges: dict[str, Hello] = {}
        self._driver: _Line | None = None

    def joined(self, hello: Hello) -> None:
        """A bridge was welcomed; it is to be driven where it says its signature."""
        if hello.signature and hello.track:
            self._bridges[hello.stream] = hello
            if self._driver is None:
                self._post(hello.stream, DriverState(False, NO_DRIVER))
            else:
                self._driver.tell(_joined(hello))

    def heard(self, stream: str, frame: Telemetry) -> None:
        """A frame came."""
        if self._driver is not None and stream in self._bridges and frame.episode is not None:
            self._driver.tell(Seen(stream, frame))

    def left(self, stream: str) -> None:
        """A bridge is gone."""
        if self._bridges.pop(stream, None) is not None and self._driver is not None:
            self._driver.tell(Left(stream))

    async def serve(self, socket: ServerConnection) -> None:
        """Talk to a driver, until its connection ends."""
        before, line = self._driver, _Line(socket, map(_joined, self._bridges.values()))
        self._driver = line
        if before is not None:
            _log.warning("another driver has come, and takes the place of the one before")
            before.socket.transport.abort()
        _log.info("a driver is here", extra=fields(bridges=len(self._bridges)))
        telling = asyncio.create_task(line.keep_telling())
        try:
            async for frame in socket:
                said: Say = from_driver(frame if isinstance(frame, bytes) else frame.encode())
                if self._driver is line and said.stream in self._bridges:
                    self._post(said.stream, said.message)
        except ConnectionClosed:
            pass
        except (msgspec.MsgspecError, RecursionError) as error:
            _log.error("a driver says what cannot be read, and is let go", extra=fields(reason=error))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            if self._driver is line:
                self._driver = None
                _log.warning("the driver is gone", extra=fields(bridges=len(self._bridges)))
                for stream in self._bridges:
                    self._post(stream, DriverState(False, NO_DRIVER))


def _joined(hello: Hello) -> Joined:
    assert hello.track is not None
    return Joined(hello.stream, hello.bridge, hello.track)


async def listen_for_driver(
    relay: DriverRelay,
    serve_bridge: Callable[[ServerConnection], Awaitable[None]],
    folder: Path,
    connection: Callable[..., Any],
) -> tuple[Server, Server]:
    """The driver's listeners in `folder`: for frames, and for its experience, as of a bridge's `connection`."""
    options: dict[str, Any] = {
        "subprotocols": [Subprotocol(PROTOCOL)],
        "compression": None,
        "ping_interval": None,
        "close_timeout": GOODBYE_SECONDS,
        "server_header": None,
    }
    frames = private_socket(folder / DRIVER)
    local = private_socket(folder / EXPERIENCE)
    asking = {"ping_interval": ASK_SECONDS, "ping_timeout": HANG_SECONDS}
    return (
        await unix_serve(relay.serve, sock=frames, max_size=MAX_BYTES, **options | asking),
        await unix_serve(
            serve_bridge, sock=local, max_size=MAX_UP_FRAME_BYTES, create_connection=connection, **options
        ),
    )

"""A TCP proxy that does to a link what networks do: delay, resets, refusals, cuts in mid-frame, silent packet loss.

    with FaultProxy(("127.0.0.1", receiver_port)) as proxy:
        dial(proxy.port)
        proxy.cut()            # every connection is reset (RST); new ones work
        proxy.cut_after(1000)  # the next 1000 bytes towards the target still pass, then that connection is reset
        proxy.refuse()         # connections are reset and nothing listens any more
        proxy.black_hole()     # connections stay open, every byte vanishes, new ones are accepted and stay mute
        proxy.latency = 0.05   # seconds, one way
        proxy.rate = 100_000   # bytes a second, each way of each connection
        with proxy.standstill():  # takes no byte from anybody, so that the senders' buffers fill; nothing is closed
            ...
        proxy.resume()         # as at the start, for new connections

A connection from which a byte vanished stays mute for ever, also after `resume`: a stream with a hole is none, and a
real half-open connection does not come back either. Commands may be given from any thread and take effect before
they return. Runs an asyncio loop in a thread of its own.
"""

import asyncio
import enum
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

_T = TypeVar("_T")
_CHUNK = 64 * 1024


class Mode(enum.Enum):
    """What happens to connections now."""

    PASS = "pass"
    REFUSE = "refuse"
    BLACK_HOLE = "black_hole"


class _Pipe:
    """One proxied connection: two directions that share their fate."""

    def __init__(self, proxy: "FaultProxy", client: asyncio.StreamWriter) -> None:
        self._proxy, self._client = proxy, client
        self._target: asyncio.StreamWriter | None = None
        self.mute = False

    async def run(self, reader: asyncio.StreamReader) -> None:
        try:
            answers, self._target = await asyncio.open_connection(*self._proxy.target, limit=_CHUNK)
        except OSError:
            self.reset()
            return
        up = asyncio.ensure_future(self._carry(reader, self._target, upwards=True))
        down = asyncio.ensure_future(self._carry(answers, self._client, upwards=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for writer in (self._client, self._target):
                writer.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, upwards: bool) -> None:
        """Move bytes one way, each chunk `latency` after it came, until the source ends."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)
        loop = asyncio.get_running_loop()

        async def deliver() -> None:
            while True:
                moment, data = await due.get()
                await asyncio.sleep(max(0.0, moment - loop.time()))
                if not self.mute:
                    sink.write(data)
                    await sink.drain()
                if not data:
                    return

        delivering = asyncio.ensure_future(deliver())
        try:
            with suppress(ConnectionError):
                while data := await source.read(_CHUNK):
                    if self._swallows():
                        continue
                    await asyncio.sleep(len(data) / self._proxy.rate)
                    data, cut = self._proxy._allowed(data, upwards)
                    await due.put((loop.time() + self._proxy.one_way_delay(), data))
                    if cut:
                        # What still passes must leave before the reset, which would overtake it.
                        await due.put((0.0, b""))
                        await delivering
                        self.reset()
                        return
                if self._swallows():
                    # The end of a connection is a packet too, and vanishes like the others.
                    await asyncio.Event().wait()
                await due.put((0.0, b""))
                await delivering
        finally:
            delivering.cancel()

    def _swallows(self) -> bool:
        self.mute = self.mute or self._proxy.mode is Mode.BLACK_HOLE
        return self.mute

    def reset(self) -> None:
        """Close both sides with RST."""
        for writer in (self._client, self._target):
            if writer is None:
                continue
            with suppress(OSError):
                # Lingering for 0 s turns the close into a reset and drops what is still buffered.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class FaultProxy:
    """Listens on `port` of 127.0.0.1 and forwards to `target` between `__enter__` and `__exit__`.

    Args:
        target: (host, port); may be changed at any time, for new connections.
        latency: one-way delay in s; may be changed at any time.
        jitter: the delay varies by up to this much, s; the order of bytes is kept.
        seed: of the jitter.
    """

    def __init__(self, target: tuple[str, int], latency: float = 0.0, jitter: float = 0.0, seed: int = 0) -> None:
        self.target, self.latency, self.jitter = target, latency, jitter
        self.rate = float("inf")
        self.mode = Mode.PASS
        self.port = 0
        self.accepted = 0
        """Connections accepted so far."""
        self._random = random.Random(seed)
        self._bytes_left: dict[bool, int] = {}
        # Nothing else refers to the task of a mute pipe: collected as garbage, it would close its connection.
        self._pipes: dict[_Pipe, asyncio.Task[Any] | None] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.close()

    @property
    def open_connections(self) -> int:
        """Connections that are open on the client's side."""
        return len(self._pipes)

    def cut(self) -> None:
        """Reset every open connection; new ones work as before."""
        self._do(self._reset_all)

    def cut_after(self, count: int, upwards: bool = True) -> None:
        """Let `count` more bytes pass that way, over all connections, then reset the one that would carry more.

        `upwards` is towards the target, else towards the client.
        """

        def arm() -> None:
            self._bytes_left[upwards] = count

        self._do(arm)

    def refuse(self) -> None:
        """Reset every connection and stop listening: new ones are refused."""
        self._call(self._unlisten())
        self._do(self._reset_all)

    def black_hole(self) -> None:
        """From now on every byte vanishes, both ways; nothing is closed, new connections are accepted."""

        def swallow() -> None:
            self.mode = Mode.BLACK_HOLE
            for pipe in self._pipes:
                pipe.mute = True

        self._call(self._listen())
        self._do(swallow)

    def resume(self) -> None:
        """Carry new connections again, and those from which nothing vanished."""

        def carry() -> None:
            self.mode, self._bytes_left = Mode.PASS, {}

        self._do(carry)
        self._call(self._listen())

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """Neither read nor write anything inside the block, like a stopped process."""
        goes_on = threading.Event()
        self._loop.call_soon_threadsafe(goes_on.wait)
        try:
            yield
        finally:
            goes_on.set()

    def one_way_delay(self) -> float:
        """The delay of the next chunk, s."""
        return self.latency + self._random.uniform(0.0, self.jitter)

    def _allowed(self, data: bytes, upwards: bool) -> tuple[bytes, bool]:
        """What of `data` may pass, and whether its connection is cut after that."""
        left = self._bytes_left.pop(upwards, None)
        if left is None:
            return data, False
        if len(data) <= left:
            self._bytes_left[upwards] = left - len(data)
            return data, False
        return data[:left], True

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, limit=_CHUNK, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _unlisten(self) -> None:
        self.mode = Mode.REFUSE
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _end(self) -> None:
        await self._unlisten()
        self._reset_all()
        mine = asyncio.current_task()
        # What ends may begin something: a connection accepted just before, a pipe that closes both its sides.
        while others := [task for task in asyncio.all_tasks() if task is not mine]:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pipe = _Pipe(self, writer)
        if self.mode is Mode.REFUSE:
            pipe.reset()
            return
        pipe.mute = self.mode is Mode.BLACK_HOLE
        self._pipes[pipe] = asyncio.current_task()
        try:
            # Cancelled at the end only; asyncio would call that an error.
            with suppress(asyncio.CancelledError):
                await pipe.run(reader)
        finally:
            self._pipes.pop(pipe, None)

    def _reset_all(self) -> None:
        for pipe in list(self._pipes):
            pipe.reset()

    def _do(self, action: Callable[[], None]) -> None:
        async def run() -> None:
            action()

        self._call(run())

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

"""The receiver: accepts bridges, keeps what they send, and tells them what the trainer has done.

It promises that a batch is acknowledged as stored only after its transaction, as safe only after its upload, and that
no peer, however broken, slow or hostile, disturbs another's session. Batches are validated and committed by the writer
thread; weights and the trainer's progress are read from the store. It never looks at the bucket.
"""

import asyncio
import hashlib
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from experience.environment import Environment
from runtime.logs import fields
from runtime.progress import Progress
from train_cloud import notify
from train_cloud.environment import environment_of
from train_cloud.receiver.admission import agreed, check_alone, check_source, hello_in
from train_cloud.receiver.announced import KnownLaps
from train_cloud.receiver.auth import Gate
from train_cloud.receiver.collect import Collector
from train_cloud.receiver.connection import Connection, News, PeerError, RateLimit
from train_cloud.receiver.door import Door, on_loop_error, quiet_logger
from train_cloud.receiver.driver_relay import DriverRelay, listen_for_driver
from train_cloud.receiver.http_answers import WRITER_BUSY_SECONDS, HttpAnswers, Vitals, address_of
from train_cloud.receiver.intake import BoundedConnection, Memory
from train_cloud.receiver.plausible import greatest_reward
from train_cloud.receiver.relay import Relay, listen_for_calls
from train_cloud.receiver.standings import Standings
from train_cloud.receiver.stream import Streams
from train_cloud.receiver.telemetry_files import TelemetryFiles
from train_cloud.receiver.writer import Result, Writer
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import CALLS, WARNING
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreError, StreamState, WeightsRow
from wire.frames import encode_frame, encode_text
from wire.messages import (
    MAX_HELLO_FRAME_BYTES,
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    CloseCode,
    Drain,
    ErrorCode,
    FlowControl,
    Hello,
    Role,
    WeightsUpdate,
    Welcome,
)

HELLO_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 15.0
"""Who was not heard for so long is let go: links that are open on our side only are noticed within 20 s."""
WEIGHTS_POLL_SECONDS: Final = 0.05
FLOW_CONTROL_SECONDS: Final = 0.2
ALIVE_SECONDS: Final = 1.0
FINAL_BACKUP_SECONDS: Final = 20.0
"""The uploads at the end, all of them, may take this long."""

_log = logging.getLogger(__name__)


class Receiver:
    """Serves the bridges of one run from `store`, which must be ready.

    Where streamed telemetry is written, it goes to `telemetry`; where it is shown, `show` takes the lines.
    """

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        token: str,
        telemetry: TelemetryFiles | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self.config, self.store = config, store
        self.environment = environment_of(config, store.first_spaces())
        """What the run is trained in; None until the first bridge says what a Gymnasium environment's spaces are."""
        self.crashed = False
        self._roles: dict[str, Callable[[Connection, Hello], Awaitable[None]]] = {
            Role.COLLECT: self._collect,
            Role.SERVE_ENV: self._serve_env,
        }
        self._collectors: dict[str, Collector] = {}
        self._relay = Relay()
        self._laps = KnownLaps(store)
        self._weights: WeightsRow | None = None
        self._frames: dict[bool, bytes] = {}
        self._flow = FlowControl(0, 0, config.max_lead_steps)
        self._warning = ""
        self._memory = Memory()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = Writer(store, partial(self._call, self._written), self._on_crash)
        self._vitals = Vitals(
            self._writer.busy,
            bridges=lambda: len(self._collectors) + len(self._relay.served) + len(self.streams),
        )
        self._standings = Standings(store, self._vitals.problem)
        self.streams = Streams(config, store, self._standings, self._laps.shortest, telemetry, show)
        self._roles[Role.STREAM] = self.streams.serve
        self._drivers = DriverRelay(self.streams.post)
        self.streams.subscribe(self._drivers)
        self._http = HttpAnswers(Gate(token), store, self._vitals, config.max_bridges)
        self._stop = threading.Event()

    def safe(self, stream: str, through: int) -> None:
        """The backup brought `stream` through this number into the bucket; any thread may call."""
        self._call(self._moved, stream, 0, through)

    def _on_crash(self) -> None:
        self.crashed = True
        self._stop.set()

    def _call(self, what: Callable[..., None], *arguments: object) -> None:
        # After the loop's end nobody is left to be told.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what, *arguments)

    def encoded_weights(self, text: bool) -> bytes | None:
        """The newest weights as a frame, encoded once for all bridges; None before the first."""
        if self._weights is not None and text not in self._frames:
            update = WeightsUpdate(self._weights.version, self._weights.sha256, self._weights.blob)
            self._frames[text] = encode_text(update).encode() if text else encode_frame(update)
        return self._frames.get(text)

    def _newest_version(self) -> int:
        return 0 if self._weights is None else self._weights.version

    def _written(self, results: list[Result], positions: dict[str, int]) -> None:
        self._vitals.count(results)
        for stream, through in positions.items():
            self._moved(stream, through, 0)
        for result in results:
            result.job.peer.done(result)

    def _moved(self, stream: str, stored: int, safe: int) -> None:
        if stream in self._collectors:
            self._collectors[stream].moved(stored, safe)

    async def serve(
        self,
        stop: threading.Event,
        context: ssl.SSLContext | None,
        on_listening: Callable[[int], None],
        flush: Callable[[float], bool],
        backup_failing: Callable[[], float] = lambda: 0.0,
    ) -> bool:
        """Serve until `stop`; then stop accepting, say Drain, close, and end the writer; whether all was flushed.

        `on_listening(port)` is called once bridges can dial; `flush(seconds)` brings what is stored to the bucket, and
        is called (in a thread) before the bridges are let go and after the last batch was committed; `backup_failing`
        says for how long (s) the bucket has been failing. Raises OSError when the address cannot be had.
        """
        self._stop, self._loop, self._vitals.backup_failing = stop, asyncio.get_running_loop(), backup_failing
        folder = self.store.path.parent
        # That of an earlier life says nothing of this one.
        (folder / WARNING).unlink(missing_ok=True)
        self._poll_store()
        self._writer.start()
        door = Door(self.config.listen_host, self.config.listen_port, self.config.max_bridges)
        keeping = asyncio.gather(self._standings.keep(), self.streams.keep(self._on_crash))
        self._loop.set_exception_handler(on_loop_error)
        local = partial(BoundedConnection, memory=self._memory)
        server = await serve(
            partial(self._serve_one, door),
            sock=door,
            ssl=context,
            ssl_handshake_timeout=HELLO_SECONDS if context else None,
            process_request=self._http.judge,
            subprotocols=[Subprotocol(PROTOCOL)],
            compression=None,
            max_size=MAX_HELLO_FRAME_BYTES,
            open_timeout=HELLO_SECONDS,
            ping_interval=None,
            close_timeout=2.0,
            server_header=None,
            create_connection=local,  # type: ignore[arg-type]  # only called
            logger=quiet_logger(),
        )
        calls = await listen_for_calls(self._relay, folder / CALLS)
        drivers = await listen_for_driver(self._drivers, partial(self._serve_one, None), folder, local)
        try:
            on_listening(server.sockets[0].getsockname()[1])
            with Progress("receiving") as progress:
                await self._push(progress)
        finally:
            self._relay.end()
            for listener in (calls, *drivers):
                listener.close()
            all_safe = await self._end(server, flush)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._standings.write()
        return all_safe

    async def _end(self, server: Server, flush: Callable[[float], bool]) -> bool:
        deadline = time.monotonic() + FINAL_BACKUP_SECONDS
        self._vitals.draining = True
        notify.status("draining: bridges are let go")
        server.close(close_connections=False)
        for collector in self._collectors.values():
            collector.connection.post(Drain("The instance is going away; keep driving, keep the spool, dial again."))
        self._relay.drain("The instance is going away; dial again.")
        self.streams.drain("The instance is going away; dial again.")
        # The bridges stay while segments go up: what becomes safe now, they need not send again.
        all_safe = await asyncio.to_thread(flush, FINAL_BACKUP_SECONDS)
        for collector in list(self._collectors.values()):
            collector.connection.close(CloseCode.GOING_AWAY, "draining")
        self._relay.close()
        self.streams.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                while self._vitals.connections:
                    await asyncio.sleep(0.02)
        await asyncio.to_thread(self._writer.stop)
        return all_safe and await asyncio.to_thread(flush, max(0.0, deadline - time.monotonic()))

    async def _push(self, progress: Progress) -> None:
        """Hand on weights and progress as they appear in the store, until stopped."""
        next_flow = next_alive = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            busy = self._writer.busy()
            if now >= next_alive and busy is not None and busy[1] <= WRITER_BUSY_SECONDS:
                next_alive = now + ALIVE_SECONDS
                notify.alive()
                self._pass_on_warning()
            try:
                if self._poll_store():
                    for collector in self._collectors.values():
                        collector.connection.tell_frame(News.WEIGHTS, self.encoded_weights)
                if now >= next_flow:
                    next_flow = now + FLOW_CONTROL_SECONDS
                    if self._poll_flow():
                        for collector in self._collectors.values():
                            collector.connection.tell(News.FLOW_CONTROL, lambda: self._flow)
                        # How far the run is, and for how long it goes on, is the trainer's to tell.
                        progress.update(self._flow.stored_steps, bridges=self._vitals.bridges())
                    self._vitals.store_unreadable = False
            except StoreError as error:
                self._vitals.store_unreadable = True
                _log.error("the trainer's news cannot be read", extra=fields(reason=error))
            self._memory.make_room()
            await asyncio.sleep(WEIGHTS_POLL_SECONDS)

    def _pass_on_warning(self) -> None:
        """Tell the bridges what the instance's watch has left for them, once."""
        try:
            warning = (self.store.path.parent / WARNING).read_text(encoding="utf-8")
        except OSError:
            warning = ""
        if warning and warning != self._warning:
            _log.warning("bridges are told that the instance is about to end", extra=fields(text=warning))
            for collector in self._collectors.values():
                collector.connection.post(Drain(warning))
            self._relay.drain(warning)
            self.streams.drain(warning)
        self._warning = warning

    def _poll_store(self) -> bool:
        newest = self.store.latest_weights(self._weights.serial if self._weights else 0)
        if newest is None:
            return False
        if hashlib.sha256(newest.blob).hexdigest() != newest.sha256:
            _log.error("weights in the store do not match their hash, not sent", extra=fields(version=newest.version))
            return False
        self._weights, self._frames, self._vitals.weights_version = newest, {}, newest.version
        return True

    def _poll_flow(self) -> bool:
        progress = self.store.progress()
        done = progress.state == TrainerState.DONE
        flow = FlowControl(self.store.total_steps(), progress.trained_steps, self.config.max_lead_steps, done)
        if done and not self._flow.done:
            _log.info("the run is done, bridges are told so", extra=fields(trained_steps=flow.trained_steps))
        changed, self._flow = flow != self._flow, flow
        return changed

    async def _serve_one(self, door: Door | None, socket: ServerConnection) -> None:
        if door is not None:
            door.let_in(socket.transport.get_extra_info("socket").fileno())
        self._vitals.opened(1, own=door is None)
        assert isinstance(socket, BoundedConnection)
        socket.begin()
        watch = asyncio.create_task(socket.watch(SILENCE_SECONDS))
        try:
            await self._talk(socket)
        except ConnectionClosed:
            pass
        except Exception:
            _log.exception("a session met an unexpected error", extra=fields(peer=address_of(socket)))
            await socket.close(1011, "internal error")
        finally:
            watch.cancel()
            self._vitals.opened(-1, own=door is None)
            socket.end()
            if socket.let_go_for is not None:
                _log.warning("let a peer go", extra=fields(peer=address_of(socket), reason=socket.let_go_for))

    async def _talk(self, socket: BoundedConnection) -> None:
        try:
            frame = await asyncio.wait_for(socket.next_message(), HELLO_SECONDS)
        except TimeoutError:
            await socket.close(CloseCode.POLICY_VIOLATION, "no Hello")
            return
        connection = Connection(socket, isinstance(frame, str), RateLimit(self.config.max_messages_per_second))
        try:
            hello = hello_in(frame, self._roles)
            check_source(self.config, hello)
            await self._roles[hello.role](connection, hello)
        except PeerError as error:
            _log.warning("refused a bridge", extra=fields(peer=address_of(socket), reason=error))
            await connection.refuse_at_once(error)

    async def _serve_env(self, connection: Connection, hello: Hello) -> None:
        """Serve a bridge whose environments are stepped from here."""
        welcome = Welcome(self.config.run_id, 0, 0, 0, 0, self.config.max_lead_steps)
        self._standings.joined(hello)
        try:
            await self._relay.serve_bridge(connection, hello, welcome)
        finally:
            if hello.stream not in self._relay.served:
                self._standings.left(hello.stream)

    def _admit(self, hello: Hello) -> tuple[Environment, float | None, StreamState]:
        """What bridge and run share, the shortest lap on its track, and where its stream stands; not for the loop."""
        run = agreed(self.config, self.environment, hello)
        lap = self._laps.shortest(hello.track)
        return run, lap, self.store.register_stream(hello.stream, hello.bridge, hello.signature, hello.spaces)

    async def _collect(self, connection: Connection, hello: Hello) -> None:
        """Serve a bridge that sends experience; PeerError when it is not for this run."""
        check_alone(hello, (other.hello for other in self._collectors.values()))
        try:
            run, lap, state = await asyncio.to_thread(self._admit, hello)
        except StoreError as error:
            text = f"The stream cannot be begun. {error}"
            raise PeerError(ErrorCode.DISK_FULL, text, CloseCode.TRY_AGAIN_LATER) from None
        self._standings.joined(hello)
        self.environment = run
        connection.socket.protocol.max_message_size = MAX_UP_FRAME_BYTES
        collector = Collector(
            *(connection, hello, run.spaces.layout, state, self.store, self._writer.submit, self._standings),
            *(self._newest_version, greatest_reward(self.config), lap or 0.0),
        )
        if (old := self._collectors.get(hello.stream)) is not None:
            old.connection.close(CloseCode.REPLACED, "a newer connection of this stream took over")
        self._collectors[hello.stream] = collector
        self._poll_flow()
        flow = self._flow
        connection.post(
            Welcome(
                run_id=self.config.run_id,
                stored_through=collector.stored,
                safe_through=collector.safe,
                stored_steps=flow.stored_steps,
                trained_steps=flow.trained_steps,
                max_lead_steps=flow.max_lead_steps,
                done=flow.done,
                wants_track=hello.track is not None and lap is None,
                takes_telemetry=hello.track is not None,
            )
        )
        if self._weights is not None and self._weights.version != hello.weights_version:
            connection.tell_frame(News.WEIGHTS, self.encoded_weights)
        _log.info(
            "bridge connected",
            extra=fields(
                bridge=hello.bridge,
                stream=hello.stream,
                software=hello.software,
                stored_through=collector.stored,
                newest_in_spool=hello.last_number,
            ),
        )
        try:
            await connection.run(collector.handle)
        finally:
            # At the end of the receiver, what has come is still stored.
            collector.ended |= not self._vitals.draining
            if self._collectors.get(hello.stream) is collector:
                del self._collectors[hello.stream]
                self._standings.left(hello.stream)
            _log.info(
                "bridge disconnected",
                extra=fields(bridge=hello.bridge, stream=hello.stream, code=connection.socket.close_code),
            )

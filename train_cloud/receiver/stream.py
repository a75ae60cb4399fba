"""The role `stream`: takes telemetry, frame by frame or in numbered batches, and has it for whoever wants it.

The newest frame of each bridge is shown to whoever watches, as that of a bridge that drives; others subscribe to all of
them. A batch is acknowledged when it is on the disk, where telemetry is written, and else when it was taken. What comes
from one bridge is bounded work, at MOST_FRAMES a second, less of one that is driven, and costs no other bridge
anything.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from runtime.logs import fields, printable
from train_cloud.environment import task_config
from train_cloud.receiver.admission import check_alone, check_driven
from train_cloud.receiver.announced import announced_lap
from train_cloud.receiver.connection import Connection, News, PeerError, RateLimit
from train_cloud.receiver.plausible import FASTEST_MEAN_SPEED
from train_cloud.receiver.standings import Standings
from train_cloud.receiver.telemetry_files import MOST_STREAMS, Frames, TelemetryFiles
from train_cloud.run_config import RunConfig
from train_cloud.store import Store, StoreError
from wire.delivery import Inbox, Verdict
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    Ack,
    CloseCode,
    ControlChunk,
    DownMessage,
    Drain,
    Error,
    ErrorCode,
    Hello,
    Report,
    Telemetry,
    TelemetryBatch,
    TrackAnnouncement,
    UpMessage,
    Welcome,
)

MOST_FRAMES: Final = 1000
"""A second, of one bridge; a faster one is read more slowly."""
DRIVEN_FRAMES: Final = 2.0
"""A control step, of a bridge that is driven from here, to which each frame is work."""
MAX_PENDING: Final = 1024
"""Frames of a bridge that may wait for the disk; beyond it batches are read more slowly, and single frames dropped."""
AGAIN_SECONDS: Final = 1.0
"""After the disk has not taken telemetry, it is tried again."""
SHOW_SECONDS: Final = 0.25
"""Between two lines about a bridge."""

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Whoever wants all frames of all streaming bridges; called in the receiver's loop, and must be quick."""

    def joined(self, hello: Hello) -> None:
        """A bridge was welcomed."""

    def heard(self, stream: str, frame: Telemetry) -> None:
        """A new frame of it came; frames that come again are left out, and it may not be on the disk yet."""

    def left(self, stream: str) -> None:
        """Its connection has ended."""


class Streams:
    """The streaming bridges of one receiver; lives in its event loop.

    `shortest_lap` (s) is that of a track by its hash, None for one that nobody has announced; where `files` is None
    nothing is written, and `show` takes lines for people.
    """

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        standings: Standings,
        shortest_lap: Callable[[str | None], float | None],
        files: TelemetryFiles | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        self._config, self._store, self._standings = config, store, standings
        self._shortest_lap, self._files, self._show = shortest_lap, files, show
        self._sessions: dict[str, _Session] = {}
        self._listeners: list[Listener] = []
        self._taken: dict[str, int] = {}
        """Through which batch each stream has been heard, the newest last; where they are not written, stored, too."""
        self._waiting: deque[tuple[_Session, Frames]] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sessions)

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every bridge and frame from now on."""
        self._listeners.append(listener)

    def post(self, stream: str, message: DownMessage) -> bool:
        """Send `message` to the bridge of this stream soon; False when it is not connected."""
        session = self._sessions.get(stream)
        if isinstance(message, ControlChunk) and session is not None:
            # Over a slow link, an older one would only be late.
            session.connection.tell(News.CONTROLS, lambda: message)
        elif session is not None:
            session.connection.post(message)
        return session is not None

    def drain(self, reason: str) -> None:
        """Tell all bridges that the instance is going away, for this reason."""
        for session in self._sessions.values():
            session.connection.post(Drain(reason))

    def close(self) -> None:
        """Let all bridges go."""
        for session in list(self._sessions.values()):
            session.connection.close(CloseCode.GOING_AWAY, "draining")

    async def serve(self, connection: Connection, hello: Hello) -> None:
        """Serve a bridge that streams, until its connection ends. Raises PeerError."""
        check_alone(hello, (other.hello for other in self._sessions.values()))
        check_driven(self._config, hello)
        try:
            lap = await asyncio.to_thread(self._shortest_lap, hello.track)
        except StoreError as error:
            text = f"The stream cannot be begun. {error}"
            raise PeerError(ErrorCode.DISK_FULL, text, CloseCode.TRY_AGAIN_LATER) from None
        self._standings.joined(hello)
        connection.socket.protocol.max_message_size = MAX_UP_FRAME_BYTES
        rate = DRIVEN_FRAMES * task_config(self._config).control_hz if hello.signature else MOST_FRAMES
        session = _Session(self, connection, hello, self.stored_through(hello.stream), lap or 0.0, rate)
        if (old := self._sessions.get(hello.stream)) is not None:
            old.connection.close(CloseCode.REPLACED, "a newer connection of this stream took over")
        self._sessions[hello.stream] = session
        through = session.stored
        welcome = Welcome(self._config.run_id, through, through, 0, 0, self._config.max_lead_steps)
        wants_track = lap is None and self._is_chosen(hello)
        connection.post(msgspec.structs.replace(welcome, wants_track=wants_track, takes_telemetry=True))
        for listener in self._listeners:
            listener.joined(hello)
        _log.info("a bridge streams", extra=fields(bridge=hello.bridge, stream=hello.stream, stored_through=through))
        try:
            await connection.run(session.handle)
        finally:
            if self._sessions.get(hello.stream) is session:
                del self._sessions[hello.stream]
                self._standings.left(hello.stream)
                for listener in self._listeners:
                    listener.left(hello.stream)
            _log.info("a bridge streams no more", extra=fields(bridge=hello.bridge, stream=hello.stream))

    async def keep(self, on_crash: Callable[[], None]) -> None:
        """Write and show what comes, until cancelled; in other threads, since a disk or terminal may be slow.

        `on_crash` is called where that ends by an error: batches would wait for it for ever.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._files is not None:
                    tasks.create_task(self._keep_writing(self._files))
                if self._show is not None:
                    tasks.create_task(self._keep_showing(self._show))
        except Exception:
            _log.exception("telemetry is written and shown no more")
            on_crash()

    def take(self, session: "_Session", number: int | None, frames: tuple[Telemetry, ...]) -> bool:
        """Frames of a bridge; whether they are heard for the first time, and not again because a disk was full."""
        stream = session.hello.stream
        new = number is None or number > self._taken.get(stream, 0)
        if new:
            self._tell(session, frames)
        if number is not None and new:
            self._taken.pop(stream, None)
            self._taken[stream] = number
            if len(self._taken) > MOST_STREAMS:
                del self._taken[next(iter(self._taken))]
        if self._files is None:
            if number is not None:
                session.acknowledge(number)
        elif number is not None or session.pending < MAX_PENDING:
            session.pending += len(frames)
            self._waiting.append((session, Frames(stream, session.hello.bridge, number, time.time(), frames)))
            self._wake.set()
        return new

    def _tell(self, session: "_Session", frames: tuple[Telemetry, ...]) -> None:
        stream, newest = session.hello.stream, frames[-1]
        for listener in self._listeners:
            for frame in frames:
                listener.heard(stream, frame)
        length = session.shortest_lap * FASTEST_MEAN_SPEED + 0.01
        if not session.shortest_lap or (newest.place is not None and newest.place > length):
            # It is none on the run's track; kept frames may be of another than the bridge drives on now.
            newest = msgspec.structs.replace(newest, place=None)
        self._standings.told(stream, newest, session.shortest_lap)

    def reported(self, stream: str, report: Report) -> None:
        """A bridge said how it stands."""
        self._standings.reported(stream, report)

    async def announced(self, session: "_Session", content: bytes) -> None:
        """A bridge says what its track is; PeerError for another one than it named."""
        if self._is_chosen(session.hello):
            session.shortest_lap = await announced_lap(self._store, session.hello.track, content)

    def stored_through(self, stream: str) -> int:
        """Through which batch the stream has come."""
        return self._taken.get(stream, 0) if self._files is None else self._files.stored_through(stream)

    def _is_chosen(self, hello: Hello) -> bool:
        """Whether somebody is to drive there, or run.json names this track; where it names none, who drives for the
        run says what its track is.
        """
        chosen = self._config.environment.track
        return hello.track is not None and (bool(hello.signature) or hello.track == chosen)

    async def _keep_writing(self, files: TelemetryFiles) -> None:
        failing = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            taken = list(self._waiting)
            self._waiting.clear()
            failed = ""
            try:
                await asyncio.to_thread(files.write, [frames for _, frames in taken])
            except OSError as error:
                failed = error.strerror or type(error).__name__
                if not failing:
                    _log.warning("telemetry cannot be written", extra=fields(reason=failed))
            failing = bool(failed)
            for session, heard in taken:
                session.written(len(heard.frames))
            for session in {id(session): session for session, heard in taken if heard.number is not None}.values():
                if failed:
                    session.refuse_batches(failed)
                else:
                    session.acknowledge(files.stored_through(session.hello.stream))
            if failed:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _keep_showing(self, show: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(SHOW_SECONDS)
            lines = [line for one in self._sessions.values() if (line := one.line(len(self._sessions) > 1))]
            if lines:
                # Whoever read them may be gone.
                with suppress(OSError, ValueError):
                    await asyncio.to_thread(show, "\n".join(lines))


class _Session:
    """One streaming bridge on one connection, of which `rate` frames a second are read.

    `stored` is its newest batch that was acknowledged.
    """

    def __init__(
        self, streams: Streams, connection: Connection, hello: Hello, stored: int, lap: float, rate: float
    ) -> None:
        self.connection, self.hello, self.stored, self.shortest_lap = connection, hello, stored, lap
        self.pending = 0
        """Frames that wait for the disk."""
        self._streams, self._inbox, self._rate = streams, Inbox(stored), RateLimit(rate)
        self._room = asyncio.Event()
        self._refusing = self._track_heard = False
        self._newest: Telemetry | None = None
        self._count = self._shown = 0

    async def handle(self, message: UpMessage) -> None:
        """Take one message; raises PeerError."""
        match message:
            case Telemetry():
                await self._rate.wait()
                self._take(None, (message,))
            case TelemetryBatch(number=number, frames=frames):
                await self._rate.wait(len(frames))
                self._take_batch(number, frames)
                while self.pending > MAX_PENDING:
                    self._room.clear()
                    await self._room.wait()
            case Report():
                self._streams.reported(self.hello.stream, message)
            case TrackAnnouncement(content=content) if not self._track_heard:
                self._track_heard = True
                await self._streams.announced(self, content)

    def acknowledge(self, through: int) -> None:
        """Batches through this number are taken, or on the disk where they are written."""
        self.stored, self._refusing = max(self.stored, through), False
        self.connection.tell(News.ACK, lambda: Ack(self.stored, self.stored))

    def written(self, count: int) -> None:
        """So many frames wait for the disk no more."""
        self.pending -= count
        self._room.set()

    def refuse_batches(self, reason: str) -> None:
        """What came was not written: the bridge must begin again after what is."""
        self._inbox = Inbox(self.stored)
        if not self._refusing:
            text = f"Telemetry cannot be written here ({reason}). Send again from batch {self.stored + 1} in a while."
            self.connection.post(Error(ErrorCode.DISK_FULL, text))
        self._refusing = True

    def line(self, named: bool) -> str | None:
        """What it did last, for people; None when nothing has come since the last line."""
        newest = self._newest
        if newest is None or self._count == self._shown:
            return None
        self._shown = self._count
        who = f"{printable(self.hello.bridge)[:20]} " if named else ""
        lap = f"lap {newest.laps + 1}  {'valid' if newest.valid else 'invalid'}"
        return f"[{who}#{self._count}] {3.6 * newest.speed:.1f} km/h  {lap}"

    def _take_batch(self, number: int, frames: tuple[Telemetry, ...]) -> None:
        verdict = self._inbox.judge(number)
        if verdict is Verdict.DUPLICATE:
            self.acknowledge(self.stored)
        elif verdict is Verdict.STORE:
            self._take(number, frames)
            self._inbox.accepted(number)
        elif not self._refusing:
            expected = self._inbox.accepted_through + 1
            text = f"Batch {number} came, but batch {expected} is expected; it was not taken. "
            self.connection.post(Error(ErrorCode.OUT_OF_ORDER, f"{text}Send from batch {expected}."))

    def _take(self, number: int | None, frames: tuple[Telemetry, ...]) -> None:
        if self._streams.take(self, number, frames):
            self._newest, self._count = frames[-1], self._count + len(frames)

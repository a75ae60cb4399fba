"""The role `collect`: takes a bridge's experience in, batch by batch, and tells how far it is stored and safe.

A batch is acknowledged only after the writer said that it is committed. What is shared between bridges is the server's.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from experience.batches import NOBODY
from experience.codec import Batch, CodecError, Layout, encode_batch
from train_cloud.receiver.announced import announced_lap
from train_cloud.receiver.connection import MAX_TEXT, Connection, News, PeerError
from train_cloud.receiver.plausible import check_plausible
from train_cloud.receiver.standings import Standings
from train_cloud.receiver.writer import Job, Result, WriteOutcome
from train_cloud.store import Store, StreamState
from wire.delivery import Inbox, Verdict
from wire.messages import (
    Ack,
    CloseCode,
    Error,
    ErrorCode,
    Hello,
    Report,
    Telemetry,
    TrackAnnouncement,
    Transition,
    TransitionBatch,
    UpMessage,
)

MAX_PENDING_BYTES: Final = 8 * 2**20
"""Bytes of a bridge's batches that may wait for the disk; beyond it nothing more is read from that bridge."""


class Collector:
    """Serves the bridge that said `hello`; `layout` is what a row of its experience holds, `state` its stream's.

    `submit` gives a batch to the writer, `standings` is told how the bridge stands, and `store` keeps the track that it
    announces, where `shortest_lap` (s) is of the one that it has driven on before. `newest_version` is that of the
    policies published so far, 0 before the first, and `greatest_reward` what a step of the task is worth at most.
    """

    def __init__(
        self,
        connection: Connection,
        hello: Hello,
        layout: Layout,
        state: StreamState,
        store: Store,
        submit: Callable[[Job], None],
        standings: Standings,
        newest_version: Callable[[], int],
        greatest_reward: float,
        shortest_lap: float = 0.0,
    ) -> None:
        self.connection, self.hello = connection, hello
        self.stored, self.safe = state.stored_through, state.safe_through
        self.ended, self.spent = False, 0.0
        """Whether it was refused or has left; and what the writer reckons of it."""
        self._layout, self._store, self._submit, self._standings = layout, store, submit, standings
        self._newest_version, self._shortest_lap = newest_version, shortest_lap
        self._greatest_reward = greatest_reward
        self._track_heard = False
        self._inbox = Inbox(self.stored)
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._refusing = False

    def moved(self, stored: int = 0, safe: int = 0) -> None:
        """The stream's batches through `stored` are committed, through `safe` in the bucket: acknowledge it."""
        self.stored, self.safe = max(self.stored, stored), max(self.safe, safe)
        self.connection.tell(News.ACK, lambda: Ack(self.stored, self.safe))

    async def handle(self, message: UpMessage) -> None:
        """Take one message; raises PeerError."""
        match message:
            case TransitionBatch(number=number, blob=blob):
                await self._take(number, blob)
            case Transition():
                await self._take(message.number, _batch_of_one(message, self._layout))
            case Report():
                self._standings.reported(self.hello.stream, message)
            case Telemetry():
                self._standings.told(self.hello.stream, message, self._shortest_lap)
            case TrackAnnouncement(content=content) if not self._track_heard:
                self._track_heard = True
                named, lap = self.hello.track, self._shortest_lap
                self._shortest_lap = await announced_lap(self._store, named, content) or lap

    def done(self, result: Result) -> None:
        """The writer dealt with a batch of this bridge."""
        self._pending_bytes -= len(result.job.blob)
        self.connection.socket.hold(-len(result.job.blob))
        self._room.set()
        number = result.job.number
        if result.outcome is WriteOutcome.STORED:
            self._refusing = False
            return
        if result.outcome is WriteOutcome.DROPPED:
            return
        if result.outcome is WriteOutcome.BAD:
            bad = PeerError(ErrorCode.BAD_BATCH, f"Batch {number}: {result.text}", CloseCode.INVALID_DATA)
            self.connection.refuse(bad)
            return
        # Not stored, and so is nothing that follows: the bridge must begin again after what is.
        self._inbox = Inbox(self.stored)
        if result.outcome is WriteOutcome.NO_ROOM:
            self._refusing = True
            text = f"Batch {number} could not be stored: {result.text} "
            text += f"Send again from batch {self.stored + 1} in a while; keep the spool."
            self.connection.post(Error(ErrorCode.DISK_FULL, text[:MAX_TEXT]))

    async def _take(self, number: int, blob: bytes) -> None:
        verdict = self._inbox.judge(number)
        if verdict is Verdict.DUPLICATE:
            self.moved()
        elif verdict is Verdict.OUT_OF_ORDER:
            # After a full disk, what was under way is out of order by our own doing: that was said already.
            if not self._refusing:
                expected = self._inbox.accepted_through + 1
                text = f"Batch {number} came, but batch {expected} is expected; it was not stored. "
                self.connection.post(Error(ErrorCode.OUT_OF_ORDER, f"{text}Send from batch {expected}."))
        else:
            self._inbox.accepted(number)
            self._pending_bytes += len(blob)
            self.connection.socket.hold(len(blob))
            check = partial(
                check_plausible,
                newest_version=self._newest_version(),
                shortest_lap=self._shortest_lap,
                greatest_reward=self._greatest_reward,
            )
            self._submit(Job(self.hello.stream, number, blob, self._layout, check, self))
            while self._pending_bytes > MAX_PENDING_BYTES:
                self._room.clear()
                await self._room.wait()


def _batch_of_one(step: Transition, layout: Layout) -> bytes:
    """A text client's step as a batch; PeerError when it is not of the layout."""
    try:
        # What float32 cannot hold becomes infinite here, and is refused by the codec like any infinity.
        with np.errstate(over="ignore"):
            batch = Batch(
                layout=layout,
                run_lengths=np.array([1], np.int32),
                run_cars=np.array([0], np.int32),
                run_first_steps=np.array([step.number - 1], np.int64),
                observations=np.array([step.observation, step.next_observation], layout.observation.dtype),
                actions=np.array([step.action], layout.action.dtype),
                rewards=np.array([step.reward], np.float32),
                terminated=np.array([step.terminated]),
                truncated=np.array([step.truncated]),
                # Who drove is not said, so that nobody takes it for a demonstration.
                policy_versions=np.full(1, NOBODY, np.uint32),
                action_ages=np.zeros(1, np.float32),
                off_period=np.zeros(1, bool),
            )
        return encode_batch(batch)
    except (CodecError, ValueError, OverflowError) as error:
        raise PeerError(ErrorCode.BAD_BATCH, f"Transition {step.number}: {error}", CloseCode.INVALID_DATA) from None

"""The thread that validates batches and commits them, many at a time (group commit), each peer in its turn.

One transaction takes what arrived while the last one was written, so that a disk's sync is shared by all bridges:
some of each peer's batches in turn, in the order of their arrival. How much work a turn and a transaction may be is
bounded, so that whoever sends the largest or the worst batches holds up the others by little more than one of them.
The thread reports what became of each; only a committed batch is ever reported as stored.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from experience.codec import Batch, CodecError, Layout, decode_batch
from train_cloud.store import IncomingBatch, Store, StoreError, StoreFull

MAX_GROUP: Final = 256
"""Most batches in one transaction."""
TURN_SECONDS: Final = 0.002
"""The processor's time after which it is another peer's turn; some twenty ordinary batches take it."""
GROUP_SECONDS: Final = 0.01
"""The processor's time after which no further batch is taken into a transaction: the worst one takes about as long."""
GROUP_BYTES: Final = 2**20
"""No further batch is taken into a transaction that holds so much."""

_log = logging.getLogger(__name__)


class WriteOutcome(Enum):
    """What became of a batch."""

    STORED = "stored"
    """It is committed, now or since before."""
    GAP = "gap"
    """An earlier batch of its stream was not stored, so it was not either."""
    BAD = "bad"
    """It is damaged, not of its stream's layout, or nothing that this run can have made."""
    NO_ROOM = "no room"
    """The store could not take it."""
    DROPPED = "dropped"
    """It was not looked at, because its peer has ended."""


class Peer(Protocol):
    """Who sends jobs, on one connection."""

    ended: bool
    """It was refused or has left. What waits of it is dropped: what was not acknowledged, its bridge sends again."""

    def done(self, result: "Result") -> None:
        """Hear what became of a job."""


@dataclass(frozen=True, slots=True)
class Job:
    """A blob that wants to be batch `number` of `stream`; who hears of it from Writer's `on_done` tells the `peer`.

    `check` is called in the writer's thread, and raises CodecError for a batch that this run cannot have made.
    """

    stream: str
    number: int
    blob: bytes
    layout: Layout
    check: Callable[[Batch], None]
    peer: Peer


@dataclass(frozen=True, slots=True)
class Result:
    """What became of `job`; for a refusal, `text` says why."""

    job: Job
    outcome: WriteOutcome
    text: str = ""


class Writer:
    """Takes jobs until stop(). `on_done(results, positions)` is called in its thread after each transaction.

    `positions` is stored_through of every stream that the transaction met. `on_crash` is called when the thread dies.
    """

    def __init__(
        self,
        store: Store,
        on_done: Callable[[list[Result], dict[str, int]], None],
        on_crash: Callable[[], None],
    ) -> None:
        self._store, self._on_done, self._on_crash = store, on_done, on_crash
        self._waiting: OrderedDict[Peer, deque[Job]] = OrderedDict()
        """Of each peer that has any, its jobs; the peer whose turn it is comes first."""
        self._changed = threading.Condition()
        self._stopping = False
        self._busy: tuple[str, float] | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job behind those of its peer; never blocks."""
        with self._changed:
            self._waiting.setdefault(job.peer, deque()).append(job)
            self._changed.notify()

    def busy(self) -> tuple[str, float] | None:
        """What has not ended, as the beginning of a sentence, and for how long (s); None when the thread is dead."""
        if not self._thread.is_alive():
            return None
        what, since = self._busy or ("", time.monotonic())
        return what, time.monotonic() - since

    def stop(self) -> None:
        """Commit what is queued, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                results, valid = self._judge_group()
                positions = self._store_group(valid, results)
                self._busy = None
                self._on_done(results, positions)
        except Exception:
            _log.exception("the writer met an unexpected error, the receiver ends")
            self._on_crash()

    def _wait(self) -> bool:
        """Whether a job is there, once one is or none will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            return bool(self._waiting)

    def _next(self, results: list[Result]) -> Job | None:
        """The job whose turn it is, if any; adds those that are dropped to `results`."""
        with self._changed:
            while self._waiting:
                peer, jobs = next(iter(self._waiting.items()))
                if not peer.ended:
                    job = jobs.popleft()
                    if not jobs:
                        del self._waiting[peer]
                    return job
                del self._waiting[peer]
                results += [Result(job, WriteOutcome.DROPPED) for job in jobs]
        return None

    def _pass_turn(self, peer: Peer) -> None:
        with self._changed:
            if peer in self._waiting:
                self._waiting.move_to_end(peer)

    def _judge_group(self) -> tuple[list[Result], list[tuple[Job, IncomingBatch]]]:
        """The jobs of one transaction: what is refused already, and what is to be stored."""
        results: list[Result] = []
        valid: list[tuple[Job, IncomingBatch]] = []
        size, peer = 0, None
        began = turn = now = time.thread_time()
        while len(results) + len(valid) < MAX_GROUP and size < GROUP_BYTES and now - began < GROUP_SECONDS:
            if (job := self._next(results)) is None:
                break
            if job.peer is not peer:
                peer, turn = job.peer, now
            self._busy = "a batch has not been judged", time.monotonic()
            try:
                batch = decode_batch(job.blob, job.layout)
                job.check(batch)
            except CodecError as error:
                job.peer.ended = True
                results.append(Result(job, WriteOutcome.BAD, str(error)))
            else:
                size += len(job.blob)
                valid.append((job, IncomingBatch(job.stream, job.number, batch.steps, job.blob)))
            now = time.thread_time()
            if now - turn >= TURN_SECONDS:
                self._pass_turn(peer)
        return results, valid

    def _store_group(self, valid: list[tuple[Job, IncomingBatch]], results: list[Result]) -> dict[str, int]:
        """Store what is valid, and add what became of it to `results`; returns where the streams stand."""
        if not valid:
            return {}
        self._busy = "the disk has not taken a transaction", time.monotonic()
        try:
            positions = self._store.add_batches([batch for _, batch in valid])
        except StoreError as error:
            if len(valid) == 1 or not isinstance(error, StoreFull):
                results += [Result(job, WriteOutcome.NO_ROOM, str(error)) for job, _ in valid]
                return {}
            # What does not fit must not keep out what does: one by one, in order.
            through: dict[str, int] = {}
            for one in valid:
                through |= self._store_group([one], results)
            return through
        stored = {True: WriteOutcome.STORED, False: WriteOutcome.GAP}
        results += [Result(job, stored[job.number <= positions[job.stream]]) for job, _ in valid]
        return positions

"""The thread that validates batches and commits them, many at a time (group commit), each peer in its turn.

One transaction takes what arrived while the last one was written, so that a disk's sync is shared by all bridges:
next is always the peer that has cost least so far, its batches in the order of their arrival. How much a transaction
may be is bounded, too, so that whoever sends the largest or the worst batches holds up the others by about one of them.
The thread reports what became of each; only a committed batch is ever reported as stored.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import Final, Protocol

from experience.codec import Batch, CodecError, Layout, decode_batch
from train_cloud.store import IncomingBatch, Store, StoreError, StoreFull

MAX_GROUP: Final = 256
"""Most batches in one transaction."""
GROUP_SECONDS: Final = 0.01
"""The processor's time after which no further batch is taken into a transaction: the worst one takes about as long."""
GROUP_BYTES: Final = 256 * 2**10
"""Most bytes in a transaction of more than one batch."""
SECONDS_PER_BYTE: Final = 1e-8
"""What a byte costs beside the judging of its batch: a disk writes about 100 MB/s."""

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

    spent: float
    """What its jobs have cost, s, or would have if it had not been idle; the writer's own."""

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
        self._waiting: dict[Peer, deque[Job]] = {}
        self._order: list[tuple[float, int, Peer]] = []
        """Heap of the peers that have jobs waiting, but for the one whose job is being judged."""
        self._arrivals = count()
        self._virtual = 0.0
        """What the peer whose turn it was had spent: who was idle does not save up."""
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
            if job.peer not in self._waiting:
                self._waiting[job.peer] = deque()
                job.peer.spent = max(job.peer.spent, self._virtual)
                self._enqueue(job.peer)
            self._waiting[job.peer].append(job)
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
            self._changed.wait_for(lambda: self._order or self._stopping)
            return bool(self._order)

    def _enqueue(self, peer: Peer) -> None:
        heappush(self._order, (peer.spent, next(self._arrivals), peer))

    def _next(self, results: list[Result], room: float) -> Job | None:
        """The job whose turn it is, if any and of at most `room` bytes; adds those that are dropped to `results`."""
        with self._changed:
            while self._order:
                peer = self._order[0][-1]
                if peer.ended:
                    results += [Result(job, WriteOutcome.DROPPED) for job in self._waiting.pop(peer)]
                elif len(self._waiting[peer][0].blob) > room:
                    return None
                else:
                    self._virtual = peer.spent
                    heappop(self._order)
                    return self._waiting[peer].popleft()
                heappop(self._order)
        return None

    def _judged(self, peer: Peer, cost: float) -> None:
        with self._changed:
            peer.spent += cost
            if self._waiting[peer]:
                self._enqueue(peer)
            else:
                del self._waiting[peer]

    def _judge_group(self) -> tuple[list[Result], list[tuple[Job, IncomingBatch]]]:
        """The jobs of one transaction: what is refused already, and what is to be stored."""
        results: list[Result] = []
        valid: list[tuple[Job, IncomingBatch]] = []
        size = 0
        began = now = time.thread_time()
        while len(results) + len(valid) < MAX_GROUP and now - began < GROUP_SECONDS:
            job = self._next(results, GROUP_BYTES - size if valid else math.inf)
            if job is None:
                break
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
            before, now = now, time.thread_time()
            self._judged(job.peer, now - before + SECONDS_PER_BYTE * len(job.blob))
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

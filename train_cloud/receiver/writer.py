"""The thread that validates batches and commits them, many at a time (group commit).

One transaction takes whatever arrived while the last one was written, so that a disk's sync is shared by all bridges.
Batches of a stream are handled in the order of their arrival. The thread reports what became of each; only a committed
batch is ever reported as stored.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from experience.codec import Batch, CodecError, Layout, decode_batch
from train_cloud.store import IncomingBatch, Store, StoreError

MAX_GROUP: Final = 256
"""Most batches in one transaction."""

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


@dataclass(frozen=True, slots=True)
class Job:
    """A blob that wants to be batch `number` of `stream`; who hears of it from Writer's `on_done` tells `done`.

    `check` is called in the writer's thread, and raises CodecError for a batch that this run cannot have made.
    """

    stream: str
    number: int
    blob: bytes
    layout: Layout
    check: Callable[[Batch], None]
    done: Callable[["Result"], None]


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
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; never blocks."""
        self._queue.put(job)

    def busy_seconds(self) -> float | None:
        """How long the present transaction has taken, 0 between two; None when the thread is not alive."""
        if not self._thread.is_alive():
            return None
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def stop(self) -> None:
        """Commit what is queued, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (first := self._queue.get()) is not None:
                jobs = [first]
                while len(jobs) < MAX_GROUP and not self._queue.empty():
                    if (following := self._queue.get()) is None:
                        self._queue.put(None)
                        break
                    jobs.append(following)
                self._busy_since = time.monotonic()
                self._on_done(*self._store_group(jobs))
                self._busy_since = None
        except Exception:
            _log.exception("the writer met an unexpected error, the receiver ends")
            self._on_crash()

    def _store_group(self, jobs: Sequence[Job]) -> tuple[list[Result], dict[str, int]]:
        results: list[Result] = []
        valid: list[tuple[Job, IncomingBatch]] = []
        for job in jobs:
            try:
                batch = decode_batch(job.blob, job.layout)
                job.check(batch)
            except CodecError as error:
                results.append(Result(job, WriteOutcome.BAD, str(error)))
            else:
                valid.append((job, IncomingBatch(job.stream, job.number, batch.steps, job.blob)))
        positions: dict[str, int] = {}
        try:
            positions = self._store.add_batches([batch for _, batch in valid])
            stored = {True: WriteOutcome.STORED, False: WriteOutcome.GAP}
            results += [Result(job, stored[job.number <= positions[job.stream]]) for job, _ in valid]
        except StoreError as error:
            if len(valid) == 1:
                results.append(Result(valid[0][0], WriteOutcome.NO_ROOM, str(error)))
            else:
                # What does not fit must not keep out what does: one by one, in order.
                for job, _ in valid:
                    more, through = self._store_group([job])
                    results += more
                    positions |= through
        return results, positions

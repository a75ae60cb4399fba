"""From the control loop to a sink: collects steps in preallocated rows and commits them in a thread of its own.

Promises that the control thread only copies rows, whatever the disk does; that steps are committed at least every
`flush_seconds`; and that what cannot be collected (the writer lags, the sink is full, a value is nothing that a batch
may hold) is counted and said, never stored in part. It does not wait for anything: a car that can wait asks `ready()`
first.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from experience.batches import Batch, CodecError, Float32Array, Layout, most_steps
from experience.chunks import Chunk, assemble
from experience.codec import encode_batch
from experience.sink import Sink, SinkFull
from runtime.logs import fields

if TYPE_CHECKING:
    from racing.driving import Step

_RETRY_SECONDS = 0.5
_REPORT_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Recorder:
    """Collects the steps of one control loop.

    Args:
        sink: where batches go; a spool on the gaming PC.
        cars: N, at most `most_steps(layout)`.
        on_commit: called in the writer's thread after each committed batch.
        flush_seconds: a step is committed at most about this much later, s.
        flush_steps: a batch holds at most this many steps.
        chunks: how many batches may wait for the disk before steps are not collected any more.
    """

    def __init__(
        self,
        sink: Sink,
        layout: Layout,
        cars: int,
        *,
        on_commit: Callable[[], None] = lambda: None,
        flush_seconds: float = 0.5,
        flush_steps: int = 1024,
        chunks: int = 8,
    ) -> None:
        capacity = max(1, min(flush_steps, most_steps(layout)) // cars)
        self._sink, self._layout, self._on_commit = sink, layout, on_commit
        self._flush_seconds = flush_seconds
        self._changed = threading.Condition()
        self._free = deque(Chunk(capacity, cars, layout) for _ in range(chunks))
        self._full: deque[Chunk] = deque()
        self._current: Chunk | None = self._free.popleft()
        self._closing = False
        self._give_up_at = float("inf")
        self.collected_steps = 0
        """Steps taken over by `record` so far."""
        self.committed_steps = 0
        """Of these, how many the sink holds."""
        self.lost_steps = 0
        """Steps that were not collected, or could not be committed."""
        self.failure: BaseException | None = None
        """What ended the writer, if anything did; nothing is collected after that."""
        self._reported_lost = 0
        self._report_at = 0.0
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    @property
    def pending_steps(self) -> int:
        """Collected steps that the sink does not hold yet."""
        return self.collected_steps - self.committed_steps

    def ready(self) -> bool:
        """Whether `record` would take a step now."""
        return self.failure is None and (self._current is not None or len(self._free) > 0)

    def record(self, observation: Float32Array, step: "Step", policy_version: int) -> bool:
        """Take one step of all cars; never waits. False when there was no room and the step is not collected.

        `observation` (N, D) is what the step's actions were chosen on, best the very array that the step before led to,
        by the policy of this version, 0 for none. Nobody may change the arrays any more.
        """
        with self._changed:
            if self._current is None and self._free and self.failure is None:
                self._current = self._free.popleft()
            chunk = self._current
            if chunk is None or self.failure is not None:
                self.lost_steps += len(step.reward)
                return False
            if chunk.filled == 0:
                chunk.due = time.monotonic() + self._flush_seconds
            chunk.add(observation, step, policy_version)
            self.collected_steps += chunk.cars
            if chunk.filled == chunk.capacity:
                self._hand_over()
                self._changed.notify()
            return True

    def flush(self) -> None:
        """Have what is collected committed without waiting for more."""
        with self._changed:
            if self._current is not None and self._current.filled:
                self._hand_over()
                self._changed.notify()

    def close(self, timeout: float = 5.0) -> None:
        """Commit everything collected and end the writer; gives up on a disk that takes nothing for `timeout` s."""
        with self._changed:
            self._closing = True
            self._give_up_at = time.monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 2.0 * _RETRY_SECONDS)
        self._report(final=True)

    def _hand_over(self) -> None:
        if self._current is not None:
            self._full.append(self._current)
        self._current = self._free.popleft() if self._free else None

    def _write(self) -> None:
        try:
            while (chunk := self._next_chunk()) is not None:
                self._store(chunk)
                chunk.clear()
                with self._changed:
                    self._free.append(chunk)
                self._report()
        except BaseException as error:
            _log.exception("experience can no longer be written")
            self.failure = error

    def _next_chunk(self) -> Chunk | None:
        """The next chunk to store, waiting for one; None when closing and nothing is left."""
        with self._changed:
            while True:
                current = self._current
                due = current is not None and current.filled and time.monotonic() >= current.due
                if not self._full and (due or (self._closing and current is not None and current.filled)):
                    self._hand_over()
                if self._full:
                    return self._full.popleft()
                if self._closing:
                    return None
                self._changed.wait(self._flush_seconds / 4.0)

    def _store(self, chunk: Chunk) -> None:
        batch = assemble(chunk, self._layout, self._sink.steps_of_car)
        kept = 0
        if batch is not None:
            try:
                kept = batch.steps if self._append(batch, encode_batch(batch)) else 0
            except CodecError as error:
                _log.error("a batch cannot be encoded and is left out", extra=fields(reason=error))
        with self._changed:
            self.committed_steps += kept
            self.lost_steps += chunk.steps - kept
            self.collected_steps -= chunk.steps - kept
        if kept:
            self._on_commit()

    def _append(self, batch: Batch, blob: bytes) -> bool:
        """Commit, waiting for room as long as it takes; False when closing and there was none in time."""
        counts = Counter(np.repeat(batch.run_cars, batch.run_lengths).tolist())
        told = False
        while True:
            try:
                self._sink.append(blob, batch.steps, counts)
            except SinkFull as error:
                if not told:
                    _log.error(
                        "no room for experience: driving goes on, collecting stops until there is room",
                        extra=fields(reason=error),
                    )
                told = True
            else:
                if told:
                    _log.warning("there is room again: experience is collected")
                return True
            with self._changed:
                if self._closing and time.monotonic() >= self._give_up_at:
                    return False
                self._changed.wait(_RETRY_SECONDS)

    def _report(self, final: bool = False) -> None:
        lost = self.lost_steps
        if lost > self._reported_lost and (final or time.monotonic() >= self._report_at):
            _log.warning(
                "steps were driven but not collected", extra=fields(now=lost - self._reported_lost, in_all=lost)
            )
            self._reported_lost = lost
            self._report_at = time.monotonic() + _REPORT_SECONDS

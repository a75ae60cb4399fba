"""Brings experience from the store to the learner, in the order in which the instance accepted it.

Every batch that the store holds is taken in; it is counted unless a checkpoint's counters hold it already. So the
same code follows a live run, rebuilds after a restart what the learner remembers, and takes in again what a lost
instance's bridges send a second time.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from experience.batches import Batch
from experience.codec import CodecError, Layout, decode_batch
from runtime.logs import fields
from train_cloud.store import Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.laps import DrivenLap, Drives
from train_cloud.trainer.learning.learner import Learner

BATCHES_A_READ = 64

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Ingest:
    """Follows the store by row id; `counters` are updated in place, and batches of another `layout` passed over.

    `saw` is told the newest version of the policies that a batch came from, `drove` each new batch and its stream,
    `lapped` its clean laps; `drives` are racing's.
    """

    store: Store
    learner: Learner
    counters: Counters
    layout: Layout
    saw: Callable[[int], None] = lambda _: None
    drives: Drives | None = None
    drove: Callable[[str, Batch], None] = lambda *_: None
    lapped: Callable[[list[DrivenLap]], None] = lambda _: None

    def __post_init__(self) -> None:
        self._read_through = 0
        self._counted_through = 0
        self._remembered: deque[tuple[int, int]] = deque()
        """Id and steps to learn from of each batch that the learner still remembers some of, oldest first."""
        self._remembered_steps = 0

    def skip_to_needed(self) -> None:
        """Pass over what is counted already and too old for the learner; call it once, before the first read."""
        # Steps off the period and demonstrations take no place in the memory that is rebuilt, and which batches hold
        # them is not known yet.
        wanted = self.learner.remembers + self.counters.off_period_steps + self.counters.demonstrations
        held = 0
        for batch_id, stream, number, steps in self.store.positions():
            counted = number <= self.counters.consumed.get(stream, 0)
            if counted:
                self._counted_through = max(self._counted_through, batch_id)
            if held < wanted or not counted:
                self._read_through = batch_id - 1
            # What comes on top is read too, but was not in the memory that is to be rebuilt.
            held += steps if counted else 0

    def needed_from(self) -> int:
        """Id of the first batch that whoever goes on from the learner's present state has to read again."""
        return self._remembered[0][0] if self._remembered else self._read_through + 1

    def rebuild(self) -> int:
        """Take in the next of what was counted before; returns how many batches, 0 when the learner has all of it."""
        return self.read(self._counted_through)

    def read(self, through: int = 2**63 - 1) -> int:
        """Take in the next batches, at most BATCHES_A_READ and none beyond the id `through`; returns how many."""
        rows = [row for row in self.store.read_batches(self._read_through, BATCHES_A_READ) if row.id <= through]
        for row in rows:
            self._read_through = row.id
            try:
                batch = decode_batch(row.blob, self.layout)
            except CodecError as error:
                # The receiver stores only what it could decode, so the disk has changed the row since.
                _log.error("batch skipped", extra=fields(stream=row.stream, number=row.number, reason=str(error)))
                continue
            new = self.counters.count(row.stream, row.number, batch)
            if self.drives is not None:
                # What was counted before is read, too: a lap that was under way then ends in what is new.
                metres, laps = self.drives.read(row.stream, batch)
                if new:
                    self.counters.drove(metres, laps)
                    self.lapped(laps)
                    self.drove(row.stream, batch)
            self.saw(batch.newest_version)
            self._remember(row.id, self.learner.take(batch, new))
        return len(rows)

    def _remember(self, batch_id: int, steps: int) -> None:
        self._remembered.append((batch_id, steps))
        self._remembered_steps += steps
        while self._remembered and self._remembered_steps - self._remembered[0][1] >= self.learner.remembers:
            self._remembered_steps -= self._remembered.popleft()[1]

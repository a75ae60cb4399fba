"""A run and a spool that are only in memory: all that a driver needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from experience.codec import Batch, Layout, decode_batch
from racing.policy import Policy


@dataclass
class RunInMemory:
    """A run whose every number the test sets."""

    policy: Policy | None = None
    to_judge: Policy | None = None
    done: bool = False
    lead_steps: int = 0
    max_lead_steps: int | None = None


@dataclass
class BatchesInMemory:
    """A recorder's sink for batches of this layout."""

    layout: Layout
    stored: list[Batch] = field(default_factory=list)

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        """Keep the batch; AssertionError where it is not of as many steps as is said."""
        self.stored.append(decode_batch(blob, self.layout))
        assert self.stored[-1].steps == steps == sum((steps_by_car or {}).values())
        return len(self.stored)

    def steps_of_car(self, car: int) -> int:
        """Of what is kept."""
        return sum(int(batch.run_lengths[batch.run_cars == car].sum()) for batch in self.stored)

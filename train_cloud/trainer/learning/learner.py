"""What the trainer's loop asks of a learner, so that it need not know how the learner learns.

The loop paces, publishes, saves and stops; a learner takes experience in, makes updates of it, and tells its policy and
its state as bytes. Methods that learn from a replay buffer are off_policy.py's; learners.py makes what a run asks for.
"""

from typing import Any, NamedTuple, Protocol

from experience.batches import Batch
from train_cloud.trainer.counters import Counters


class Figures(NamedTuple):
    """How learning goes."""

    losses: dict[str, float]
    """Means over the latest call of `update`, by name; empty before the first."""
    replay_rows: int
    """Transitions held to learn from."""


class Learner(Protocol):
    """Networks, optimisers and whatever experience they learn from."""

    @property
    def remembers(self) -> int:
        """How many of the newest steps it goes on learning from, and so needs again after a restart."""

    @property
    def waits_for_version(self) -> bool:
        """Whether it learns only from steps of the newest version, `remembers` of them: who acts waits for the next."""

    def take(self, batch: Batch) -> None:
        """Take the steps of `batch` in, in their order; those off the control period are not for learning."""

    def update(self, budget: int) -> int:
        """Make up to `budget` gradient updates; returns how many, 0 while there is nothing to learn from."""

    def act(self, observations: Any, explore: bool) -> Any:
        """Actions (N, ...) for observations (N, ...), by the weights of now; the best where it is not to `explore`."""

    def figures(self) -> Figures:
        """How learning goes now."""

    def check(self) -> None:
        """Raise Diverged when its losses, networks or optimisers are no longer sane."""

    def memory_digest(self) -> str:
        """SHA-256 (hex) of the experience held: equal once a resumed run has taken the same in again."""

    def policy(self, version: int) -> bytes:
        """The policy of now as a file for `racing.policy`. Raises ExportError when learning has diverged."""

    def state(self, counters: Counters) -> bytes:
        """All that learning goes on from, except the experience; `counters` say how far the run is."""

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take up what `state` said. Raises KeyError, ValueError or RuntimeError when it is not of such a learner."""

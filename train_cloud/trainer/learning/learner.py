"""What the trainer's loop asks of a learner, so that it need not know how the learner learns.

The loop paces, publishes, saves and stops; a learner takes experience in, makes updates of it, acts, and tells its
policy and its state as bytes. Methods that learn from a replay buffer are off_policy.py's, PPO is on_policy.py's;
learners.py makes what a run asks for.
"""

from typing import Any, NamedTuple, Protocol

from experience.batches import AnyArray, Batch
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.demonstrations import Demonstrations


class Figures(NamedTuple):
    """How learning goes."""

    losses: dict[str, float]
    """Means over the latest call of `update`, by name; empty before the first."""
    replay_rows: int
    """Transitions held to learn from; of a learner that waits for its version, those that it has not learned from."""
    dropped_steps: int = 0
    """Steps that this process took in and will not learn from, except those off the control period."""


class Learner(Protocol):
    """Networks, optimisers and whatever experience they learn from."""

    @property
    def remembers(self) -> int:
        """How many of the newest steps it goes on learning from, and so needs again after a restart."""

    @property
    def demonstrations(self) -> Demonstrations | None:
        """What no policy drove, kept for ever, and so in every checkpoint; None where it is taken like all the rest."""

    @property
    def waits_for_version(self) -> bool:
        """Whether it learns only from steps of its policy of now, published by `policy`.

        Such a learner makes all the updates of as many steps as it `remembers` at once. Then they are used up, and
        whoever acts waits for the next version.
        """

    def act(self, observations: Any, explore: bool) -> AnyArray:
        """Actions (N, ...) of the action space's shape and dtype for batched values of the observation space.

        Values are batched as Gymnasium's vector environments batch them; without `explore` the policy does its best.
        """

    def take(self, batch: Batch, new: bool = True, /) -> int:
        """Take the steps of `batch` in, in their order; those off the control period are not for learning.

        Not `new` is what the run has counted before, taken in again to be remembered, except demonstrations, which the
        checkpoint holds. Returns how many went where the newest `remembers` are.
        """

    def update(self, budget: int, /) -> int:
        """Make up to `budget` gradient updates; returns how many, 0 while there is nothing to learn from.

        One that waits for its version makes those of all its steps, whatever the budget.
        """

    def figures(self) -> Figures:
        """How learning goes now."""

    def check(self) -> None:
        """Raise Diverged when its losses, networks or optimisers are no longer sane."""

    def memory_digest(self) -> str:
        """SHA-256 (hex) of the experience held: equal once a resumed run has taken the same in again."""

    def policy(self, version: int) -> bytes:
        """The policy of now as a file, for `racing.policy` where local weights can act in the environment.

        Raises ExportError when learning has diverged.
        """

    def state(self, counters: Counters) -> bytes:
        """All that learning goes on from, except the experience; `counters` say how far the run is."""

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take up what `state` said. Raises KeyError, ValueError or RuntimeError when it is not of such a learner."""

"""PPO: learns from the steps of its policy in force, all of them at once, and then needs a new version's.

What policy acted tells the version that each step carries. The values and log-probabilities that PPO compares with are
reckoned when it learns: its weights are still the very ones that acted.
"""

import math

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch import Tensor

from experience.batches import Batch
from train_cloud.trainer.counters import Counters, demonstrated
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.library import LibraryLearner
from train_cloud.trainer.learning.rollout import Run, digest_of_runs, rollout_buffer, runs_of
from train_cloud.trainer.learning.views import View

_AT_BOUND = 1e-4
"""Share of a range within which an action is taken for its bound: a grid ends one step below it."""


class ClippedGaussian(DiagGaussianDistribution):
    """The library's Gaussian over the actions of `space`, for actions as they were applied, within the bounds.

    What lay beyond a bound was applied as the bound, so that the bound is as likely as all that lies beyond it: the
    density there would pull the mean back inside (arXiv 1802.07564).
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(int(np.prod(space.shape)))
        low, high = (torch.as_tensor(end.ravel(), dtype=torch.float32) for end in (space.low, space.high))
        slack = _AT_BOUND * (high - low)
        self._low, self._high, self._least, self._most = low, high, low + slack, high - slack

    def log_prob(self, actions: Tensor) -> Tensor:
        """(N,) of actions (N, A)."""
        mean, std = self.distribution.mean, self.distribution.stddev
        low, high, least, most = (end.to(mean.device) for end in (self._low, self._high, self._least, self._most))
        below, above = (torch.special.log_ndtr(z) for z in ((low - mean) / std, (mean - high) / std))
        inside: Tensor = self.distribution.log_prob(actions)  # type: ignore[no-untyped-call]  # of torch
        return torch.where(actions <= least, below, torch.where(actions >= most, above, inside)).sum(dim=1)


class PpoLearner(LibraryLearner):
    """`algorithm` learns each time that its policy has made `n_steps`, until the run has its `total_timesteps`."""

    waits_for_version = True
    demonstrations = None

    def __init__(self, algorithm: PPO, view: View, signature: str, total_timesteps: int) -> None:
        super().__init__(algorithm, view, signature)
        self.algorithm = algorithm
        self._wanted, self._total = algorithm.n_steps, total_timesteps
        self._taken = 0
        """Steps of the run that policies drove."""
        self._runs: list[Run] = []
        self._steps = 0
        self._versions: set[int] = set()
        """Those that were published with the weights of now."""
        if isinstance(algorithm.action_space, spaces.Box):
            algorithm.policy.action_dist = ClippedGaussian(algorithm.action_space)

    @property
    def remembers(self) -> int:
        """One rollout's steps."""
        return self._wanted

    def policy(self, version: int) -> bytes:
        """As the learner's protocol says; experience of this version is learned from, until the next update."""
        self._versions.add(version)
        return super().policy(version)

    def take(self, batch: Batch, new: bool = True, /) -> int:
        """Keep the steps of the policy in force, drop the others; a rollout that is full takes no more."""
        shown = demonstrated(batch)
        wanted = np.isin(batch.policy_versions, list(self._versions)) & ~batch.off_period & ~shown
        if self._steps >= self._wanted or not (wanted.any() and self._is_sound(batch)):
            wanted[:] = False
        kept = int(wanted.sum())
        self._runs += runs_of(batch, wanted)
        self._steps += kept
        if new:
            self._taken += batch.steps - int(shown.sum())
            self._dropped += batch.steps - kept - int(batch.off_period.sum())
        return kept

    def update(self, _budget: int, /) -> int:
        """Learn from a full rollout, in one go; one that the run's end leaves unfinished is dropped."""
        updates = 0
        if self._steps >= self._wanted:
            self.algorithm.rollout_buffer = rollout_buffer(self.algorithm, self.view, self._runs)
            self.algorithm.train()
            updates = self.algorithm.n_epochs * math.ceil(self._steps / self.algorithm.batch_size)
            self._versions.clear()
        elif self._taken >= self._total:
            # Nobody makes more of it, and to learn from too little would unmake what was learned.
            self._dropped += self._steps
        else:
            return 0
        self._runs, self._steps = [], 0
        return updates

    def figures(self) -> Figures:
        """The losses, the rollout's steps so far, and those that were of another policy."""
        return Figures(self.losses(), self._steps, self._dropped)

    def memory_digest(self) -> str:
        """Of the rollout so far."""
        return digest_of_runs(self._runs)

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take networks and optimiser from `state`; they are those of the newest version."""
        super().restore(state, counters)
        self._versions, self._taken = {counters.weights_version}, counters.driven
        self._dropped += self._steps
        self._runs, self._steps = [], 0

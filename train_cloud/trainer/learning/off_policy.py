"""Learners over a replay buffer: stable-baselines3's or sb3-contrib's algorithm behind the words of learner.py.

They learn from random samples of the newest experience, as many updates at a time as they are allowed.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from experience.batches import AnyArray, Batch
from train_cloud.trainer.counters import Counters, demonstrated
from train_cloud.trainer.learning.demonstrations import beside, clone_behaviour
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.library import LibraryLearner
from train_cloud.trainer.learning.replay import PackedReplayBuffer, digest_of, insert_batch
from train_cloud.trainer.learning.views import View

Algorithm = SAC | TQC | CrossQ


class ReplayLearner(LibraryLearner):
    """What all of them have in common: `batch_size` transitions are in one update, `n_step` steps in a transition."""

    def __init__(
        self, algorithm: OffPolicyAlgorithm, view: View, batch_size: int, signature: str, n_step: int = 1
    ) -> None:
        super().__init__(algorithm, view, signature)
        assert algorithm.replay_buffer is not None
        self.replay: ReplayBuffer = algorithm.replay_buffer
        self.demonstrations = beside(self.replay)
        self._learning, self._batch_size, self._n_step = algorithm, batch_size, n_step
        self.demonstration_updates = 1.0
        """Times as many updates are asked for with demonstrations; the average goes by steps, not by updates."""

    @property
    def remembers(self) -> int:
        """As many steps as the replay buffer has room for."""
        return self.replay.buffer_size

    def take(self, batch: Batch, new: bool = True, /) -> int:
        """Put the steps of `batch` into the replay buffer or beside it, except those off the control period."""
        if new:
            self._count(batch.steps - int(demonstrated(batch).sum()))
        if not self._is_sound(batch):
            self._dropped += batch.steps
            return 0
        return insert_batch(self.replay, batch, self.view, self._actions, self._n_step, self._learning.gamma, new)

    def update(self, budget: int) -> int:
        """Make `budget` updates, or none while the replay buffer is empty."""
        if self.replay.size() == 0:
            return 0
        self._learning.train(gradient_steps=budget, batch_size=self._batch_size)
        if self.average is not None:
            shown = self.demonstrations is not None and self.demonstrations.size() > 0
            self.average.follow(budget / (self.demonstration_updates if shown else 1.0))
        return budget

    def figures(self) -> Figures:
        """The losses, and the buffer's rows."""
        left_out = 0 if self.demonstrations is None else self.demonstrations.left_out
        return Figures(self.losses(), self.replay.size(), self._dropped + left_out)

    def memory_digest(self) -> str:
        """The replay buffer's digest."""
        return self.replay.digest() if isinstance(self.replay, PackedReplayBuffer) else digest_of(self.replay)

    def _count(self, steps: int) -> None:
        """So many steps more are in the run; what goes by updates alone need not know."""

    def _actions(self, chosen: AnyArray) -> AnyArray:
        """Actions (N, A) as the networks learn from them."""
        return chosen


class OffPolicyLearner(ReplayLearner):
    """SAC, TQC or CrossQ, which learn from continuous actions in -1 to 1, whatever the environment's bounds."""

    def __init__(self, algorithm: Algorithm, view: View, batch_size: int, signature: str, n_step: int = 1) -> None:
        super().__init__(algorithm, view, batch_size, signature, n_step)
        self.algorithm = algorithm
        self.cloning = 0
        """Updates of the actor alone, by the demonstrations that there are before the first of all updates."""

    def update(self, budget: int) -> int:
        """As any learner from a replay buffer; the first call begins with what a run asks for of cloning."""
        if self.replay.size() > 0:
            self._clone()
        return super().update(budget)

    def restore(self, state: bytes, counters: Counters) -> None:
        """As any learner of the library's."""
        super().restore(state, counters)
        if counters.updates:
            self.cloning = 0

    def _clone(self) -> None:
        updates, self.cloning, shown, actor = self.cloning, 0, self.demonstrations, self.algorithm.actor
        if not updates or shown is None or not shown.size():
            return

        def act(observations: Tensor) -> Tensor:
            return actor.get_action_dist_params(observations)[0].tanh()

        clone_behaviour(shown, actor, act, updates, self._batch_size, self.algorithm.lr_schedule(1.0))
        if self.average is not None:
            self.average.begin()

    def _actions(self, chosen: AnyArray) -> AnyArray:
        shape = self.algorithm.action_space.shape or ()
        scaled: AnyArray = self.algorithm.policy.scale_action(chosen.reshape(len(chosen), *shape))
        return scaled.reshape(chosen.shape)


class DqnLearner(ReplayLearner):
    """DQN, whose target and exploration go by the steps that the run has taken in, of `total_timesteps`."""

    def __init__(
        self, algorithm: DQN, view: View, batch_size: int, signature: str, total_timesteps: int, n_step: int = 1
    ) -> None:
        super().__init__(algorithm, view, batch_size, signature, n_step)
        self.algorithm, self._total = algorithm, total_timesteps
        self._explore()

    def act(self, observations: Any, explore: bool) -> AnyArray:
        """The best actions, with `explore` each of them a random one with the probability of now."""
        best, _ = self.algorithm.policy.predict(self.view.observed(observations), deterministic=True)
        space = self.algorithm.action_space
        if explore and isinstance(space, Discrete):
            # The library would draw once for all, and from a generator that no checkpoint holds.
            others = np.random.randint(int(space.n), size=best.shape)
            best = np.where(np.random.random(best.shape) < self.algorithm.exploration_rate, others, best)
        return self.view.done(best)

    def restore(self, state: bytes, counters: Counters) -> None:
        """As any learner of the library's; goes on counting steps."""
        super().restore(state, counters)
        self.algorithm._n_calls = counters.driven
        self._explore()

    def _count(self, steps: int) -> None:
        """Each step may be the one at which the target follows."""
        for _ in range(steps):
            self.algorithm.num_timesteps += 1
            self._explore()
            self.algorithm._on_step()

    def _explore(self) -> None:
        algorithm = self.algorithm
        algorithm._update_current_progress_remaining(algorithm.num_timesteps, self._total)
        algorithm.exploration_rate = algorithm.exploration_schedule(algorithm._current_progress_remaining)

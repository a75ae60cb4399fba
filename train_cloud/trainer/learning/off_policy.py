"""A learner over a replay buffer: stable-baselines3's or sb3-contrib's algorithm behind the words of learner.py.

It learns from random samples of the newest experience, as many updates at a time as it is allowed.
"""

import io
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import SAC
from stable_baselines3.common.save_util import load_from_zip_file
from torch import Tensor

from experience.batches import Batch
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.export import export_policy
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.replay import PackedReplayBuffer
from train_cloud.trainer.learning.sanity import check_sane

Algorithm = SAC | TQC | CrossQ


class OffPolicyLearner:
    """`algorithm`, fed with batches; the task's `signature` is written into every policy.

    ValueError for an algorithm whose replay buffer is not a PackedReplayBuffer.
    """

    waits_for_version = False

    def __init__(self, algorithm: Algorithm, batch_size: int, signature: str) -> None:
        if not isinstance(algorithm.replay_buffer, PackedReplayBuffer):
            raise ValueError("an off-policy learner takes experience in by a PackedReplayBuffer")
        self.algorithm = algorithm
        self.replay = algorithm.replay_buffer
        self._batch_size = batch_size
        self._signature = signature
        space = algorithm.action_space
        assert isinstance(space, Box)
        self._bounds = space.low.ravel(), space.high.ravel()
        self._scales = bool((space.low != -1.0).any() or (space.high != 1.0).any())

    @property
    def remembers(self) -> int:
        """As many steps as the replay buffer has room for."""
        return self.replay.buffer_size

    def take(self, batch: Batch) -> None:
        """Put the steps of `batch` into the replay buffer, except those off the control period."""
        wanted = slice(None) if not batch.off_period.any() else np.flatnonzero(~batch.off_period)
        actions = batch.actions
        if self._scales:
            # Networks know actions between -1 and 1 alone.
            low, high = self._bounds
            actions = 2.0 * ((actions - low) / (high - low)) - 1.0
        self.replay.insert(
            batch.current_observations()[wanted],
            actions[wanted],
            batch.rewards[wanted],
            batch.next_observations()[wanted],
            batch.terminated[wanted],
        )

    def update(self, budget: int) -> int:
        """Make `budget` updates, or none while the replay buffer is empty."""
        if self.replay.size() == 0:
            return 0
        self.algorithm.train(gradient_steps=budget, batch_size=self._batch_size)
        return budget

    def act(self, observations: Any, explore: bool) -> Any:
        """Actions (N, ...) for observations (N, ...), by the actor of now."""
        return self.algorithm.policy.predict(observations, deterministic=not explore)[0]

    def figures(self) -> Figures:
        """The means that the latest call of `train` recorded, named without `train/`, and the buffer's rows."""
        recorded = self.algorithm.logger.name_to_value
        losses = {name.removeprefix("train/"): float(value) for name, value in recorded.items() if value is not None}
        return Figures(losses, self.replay.size())

    def check(self) -> None:
        """Raise Diverged when the latest losses, a weight or a moment of an optimiser is no longer sane."""
        algorithm = self.algorithm
        optimizers = [algorithm.actor.optimizer, algorithm.critic.optimizer, algorithm.ent_coef_optimizer]
        weights: list[Tensor] = list(algorithm.policy.parameters())
        if algorithm.log_ent_coef is not None:
            weights.append(algorithm.log_ent_coef)
        states = (state for one in optimizers if one is not None for state in one.state.values())
        moments = (value for state in states for value in state.values() if isinstance(value, Tensor))
        check_sane(self.figures().losses, {"a weight": weights, "a moment of an optimiser": moments})

    def memory_digest(self) -> str:
        """The replay buffer's digest."""
        return self.replay.digest()

    def policy(self, version: int) -> bytes:
        """The actor as a file. Raises ExportError when its weights are not finite."""
        return export_policy(self.algorithm, version, self._signature)

    def state(self, counters: Counters) -> bytes:
        """A zip in stable-baselines3's format, which plain stable-baselines3 opens; without the replay buffer."""
        self.algorithm.num_timesteps = counters.steps
        model = io.BytesIO()
        self.algorithm.save(model)
        return model.getvalue()

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take networks and optimisers from `state`; only tensors are read, nothing that could execute."""
        algorithm = self.algorithm
        _, params, variables = load_from_zip_file(io.BytesIO(state), load_data=False, device=algorithm.device)
        algorithm.set_parameters(params, exact_match=True, device=algorithm.device)
        if algorithm.log_ent_coef is not None:
            algorithm.log_ent_coef.data.copy_((variables or {})["log_ent_coef"].data)
        algorithm._n_updates = counters.updates
        algorithm.num_timesteps = counters.steps

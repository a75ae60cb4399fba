"""XQC behind the words of learner.py: takes experience in, acts, saves and exports."""

import io
import pickle
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.utils import get_device, set_random_seed
from torch import Tensor

from experience.batches import AnyArray, Batch
from racing.policy_file import SQUASHED_GAUSSIAN
from train_cloud.run_config import RunConfig
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.export import policy_file
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.rollout import runs_of
from train_cloud.trainer.learning.sanity import check_sane
from train_cloud.trainer.learning.views import View
from train_cloud.trainer.learning.windows import WindowReplayBuffer
from train_cloud.trainer.learning.xqc import Networks, Xqc


class XqcLearner:
    """XQC over rows of numbers (`view.is_plain`) and actions in a Box; `signature` is written into every policy."""

    waits_for_version = False

    def __init__(self, config: RunConfig, view: View, signature: str) -> None:
        action = view.spaces.action.space
        assert view.is_plain
        assert isinstance(action, Box)
        self.view, self._signature, self._config = view, signature, config
        self._low, self._high = action.low.ravel(), action.high.ravel()
        self._device = get_device(config.device)
        set_random_seed(config.seed)
        self._sides = view.spaces.observation.space, action
        self.replay = WindowReplayBuffer(config.buffer_size, *self._sides, config.gamma, device=self._device)
        sizes = [int(np.prod(space.shape or ())) for space in self._sides]
        self.networks = Networks(config, *sizes).to(self._device)
        self.xqc = Xqc(config, self.networks, sizes[1])
        self._losses: dict[str, float] = {}
        self._dropped = 0

    @property
    def remembers(self) -> int:
        """As many steps as the replay buffer has room for."""
        return self.replay.buffer_size

    def act(self, observations: Any, explore: bool) -> AnyArray:
        """As the learner's protocol says."""
        seen = torch.as_tensor(self.view.observed(observations), dtype=torch.float32, device=self._device)
        with torch.no_grad():
            actions = self.networks.act(seen.reshape(len(seen), -1), explore).cpu().numpy()
        return self.view.done(self._low + 0.5 * (actions + 1.0) * (self._high - self._low))

    def take(self, batch: Batch, new: bool = True, /) -> None:
        """Put the steps of `batch` into the replay buffer, except those off the control period."""
        seen, chosen = self.view.observed_rows(batch.observations), self.view.chosen(batch.actions)
        if not self.view.sound(seen, chosen):
            self._dropped += batch.steps
            return
        runs = runs_of(batch, ~batch.off_period)
        if not runs:
            return
        rows = self.view.observed_rows(np.concatenate([run.rows for run in runs]))
        actions = self.view.chosen(np.concatenate([run.actions for run in runs]))
        scaled = 2.0 * (actions - self._low) / (self._high - self._low) - 1.0
        returns = self.replay.append(runs, rows.reshape(len(rows), -1), scaled)
        if new:
            # What was counted before is in the figures that the state holds.
            self.networks.scale.add(returns)

    def update(self, budget: int) -> int:
        """Make `budget` updates, or none while the replay buffer is empty."""
        if self.replay.size() == 0:
            return 0
        told: dict[str, list[Tensor]] = defaultdict(list)
        for _ in range(budget):
            batch = self.replay.sample_windows(self._config.batch_size, self._config.xqc.n_step)
            for name, loss in self.xqc.update(batch).items():
                told[name].append(loss)
        means = torch.stack([torch.stack(losses).mean() for losses in told.values()])
        # What the actor's latest update told stands until the next.
        self._losses |= dict(zip(told, means.tolist(), strict=True))
        return budget

    def figures(self) -> Figures:
        """The losses, and the buffer's rows."""
        return Figures(dict(self._losses), self.replay.size(), self._dropped)

    def check(self) -> None:
        """Raise Diverged when the latest losses, a weight or a moment of an optimiser is no longer sane."""
        states = (state for one in self.xqc.optimizers.values() for state in one.state.values())
        moments = (value for state in states for value in state.values() if isinstance(value, Tensor))
        weights = self.networks.state_dict().values()
        check_sane(self._losses, {"a weight": weights, "a moment of an optimiser": moments})

    def memory_digest(self) -> str:
        """The replay buffer's digest."""
        return self.replay.digest()

    def policy(self, version: int) -> bytes:
        """As the learner's protocol says."""
        distribution = {"distribution": SQUASHED_GAUSSIAN}
        modules = [*self.networks.actor]
        return policy_file(modules, distribution, self._sides, version, self._signature, self.view.action_step)

    def state(self, counters: Counters) -> bytes:
        """A zip as torch.save writes it, which `torch.load(..., weights_only=True)` opens; without experience."""
        optimizers = {name: one.state_dict() for name, one in self.xqc.optimizers.items()}
        state = {"networks": self.networks.state_dict(), "optimizers": optimizers, "steps": counters.steps}
        data = io.BytesIO()
        torch.save(state, data)
        return data.getvalue()

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take networks and optimisers from `state`; only tensors and numbers are read, nothing that could execute."""
        try:
            held = torch.load(io.BytesIO(state), map_location=self._device, weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError("no state of XQC") from error
        self.networks.load_state_dict(held["networks"])
        for name, optimizer in self.xqc.optimizers.items():
            optimizer.load_state_dict(held["optimizers"][name])
        self.xqc.updates = counters.updates
        self._losses = {}

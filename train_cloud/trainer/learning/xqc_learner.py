"""XQC behind the words of learner.py: takes experience in, acts, saves and exports."""

import io
import pickle
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.utils import get_device, set_random_seed
from torch import Tensor

from experience.batches import AnyArray, Batch
from racing.policy_file import CORRELATION, SQUASHED_GAUSSIAN
from train_cloud.run_config import RunConfig
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.average import Average
from train_cloud.trainer.learning.demonstrations import beside, clone_behaviour
from train_cloud.trainer.learning.export import policy_file
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.normalised import NormalisedNetwork
from train_cloud.trainer.learning.repeated import Repeated, recorder_for
from train_cloud.trainer.learning.replay import PackedReplayBuffer, insert_batch
from train_cloud.trainer.learning.return_scale import EpisodeReturns
from train_cloud.trainer.learning.rollout import runs_of
from train_cloud.trainer.learning.sanity import check_sane
from train_cloud.trainer.learning.views import View
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
        self.replay = PackedReplayBuffer(config.buffer_size, *self._sides, device=self._device)
        self.demonstrations = beside(self.replay)
        self._returns = EpisodeReturns(config.discount)
        sizes = [int(np.prod(space.shape or ())) for space in self._sides]
        self.networks = Networks(config, *sizes).to(self._device)
        self.xqc = Xqc(config, self.networks, sizes[1])
        self._updates = 0
        self._totals: dict[str, Tensor] = {}
        """What was told since the last `update`, by name: where the device adds it up."""
        self._losses: dict[str, float] = {}
        self._begin()
        self._dropped = 0
        self.average: Average[NormalisedNetwork] | None = None
        self.cloning = 0
        """Updates of the actor alone, by the demonstrations that there are before the first of all updates."""
        self.demonstration_updates = 1.0
        """Times as many updates are asked for with demonstrations; the average goes by steps, not by updates."""
        self.exploration_correlation = 0.0
        """Of a bridge's noise with that of the step before."""

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

    def take(self, batch: Batch, new: bool = True, /) -> int:
        """Put the steps of `batch` into the replay buffer or beside it, except those off the control period."""
        seen, chosen = self.view.observed_rows(batch.observations), self.view.chosen(batch.actions)
        if not self.view.sound(seen, chosen):
            self._dropped += batch.steps
            return 0
        n_step, discount = self._config.n_step, self._config.discount
        kept = insert_batch(self.replay, batch, self.view, self._scaled, n_step, discount, new)
        returns = self._returns.of(runs_of(batch, ~batch.off_period))
        if new:
            # What was counted before is in the figures that the state holds.
            self.networks.scale.add(returns)
        return kept

    def update(self, budget: int) -> int:
        """Make `budget` updates, or none while the replay buffer is empty."""
        if self.replay.size() == 0:
            return 0
        self._clone()
        for total in self._totals.values():
            total.zero_()
        delay, acted, mixes = self._config.xqc.policy_delay, 0, self.replay.mixes
        for _ in range(budget):
            acts = self._updates % delay == 0
            self._repeated[acts, mixes]()
            self._updates += 1
            acted += acts
        self.xqc.finish()
        made = {name: budget if name == "critic_loss" else acted for name in self._totals}
        sums = torch.stack([*self._totals.values()]).tolist()
        # What the actor's latest update told stands until the next.
        self._losses |= {name: one / made[name] for name, one in zip(made, sums, strict=True) if made[name]}
        if self.average is not None:
            self.average.follow(budget / (self.demonstration_updates if mixes else 1.0))
            # A mean of rows of length one is shorter than one.
            self.average.module.normalise_weights()
        return budget

    def _begin(self) -> None:
        """Repeat updates from here on; those that act, and those whose samples mix, are recorded apart."""
        recorder, kinds = recorder_for(self._device), product((True, False), repeat=2)
        self._repeated = {(acts, mixes): Repeated(partial(self._one, acts), recorder) for acts, mixes in kinds}

    def _one(self, acts: bool) -> None:
        """One update, on tensors that stay where they are."""
        for name, loss in self.xqc.update(self.replay.sample(self._config.batch_size), acts).items():
            self._totals.setdefault(name, torch.zeros_like(loss)).add_(loss)

    def figures(self) -> Figures:
        """The losses, and the buffer's rows."""
        left_out = 0 if self.demonstrations is None else self.demonstrations.left_out
        return Figures(dict(self._losses), self.replay.size(), self._dropped + left_out)

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
        distribution = {"distribution": SQUASHED_GAUSSIAN, CORRELATION: repr(self.exploration_correlation)}
        modules = [*(self.networks.actor if self.average is None else self.average.module)]
        return policy_file(modules, distribution, self._sides, version, self._signature, self.view.action_step)

    def state(self, counters: Counters) -> bytes:
        """A zip as torch.save writes it, which `torch.load(..., weights_only=True)` opens; without experience."""
        optimizers = {name: one.state_dict() for name, one in self.xqc.optimizers.items()}
        state = {"networks": self.networks.state_dict(), "optimizers": optimizers, "steps": counters.steps}
        if self.average is not None:
            state["average"] = self.average.module.state_dict()
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
        if self.average is not None:
            self.average.module.load_state_dict(held.get("average", self.networks.actor.state_dict()))
        self._updates, self._losses = counters.updates, {}
        self.xqc.use_optimizers()
        self._begin()
        if counters.updates:
            self.cloning = 0

    def _clone(self) -> None:
        updates, self.cloning, shown, actor = self.cloning, 0, self.demonstrations, self.networks.actor
        if not updates or shown is None or not shown.size():
            return

        def act(observations: Tensor) -> Tensor:
            output: Tensor = actor(observations)
            return output.chunk(2, 1)[0].tanh()

        config = self._config
        clone_behaviour(shown, actor, act, updates, config.batch_size, config.learning_rate, actor.normalise_weights)
        if self.average is not None:
            self.average.begin()

    def _scaled(self, actions: AnyArray) -> AnyArray:
        """Actions (N, A) in -1 to 1."""
        scaled: AnyArray = 2.0 * (actions - self._low) / (self._high - self._low) - 1.0
        return scaled

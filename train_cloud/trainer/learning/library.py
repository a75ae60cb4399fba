"""What all learners over stable-baselines3's algorithms have in common: acting, looking at the numbers, saving.

The algorithms are the library's own, and so are their files: `PPO.load` and its like open them without this project.
"""

import io
import math
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file, recursive_getattr
from torch import Tensor, nn
from torch.optim import Optimizer

from experience.batches import AnyArray, Batch
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.average import Average
from train_cloud.trainer.learning.export import export_policy, export_state
from train_cloud.trainer.learning.sanity import check_sane
from train_cloud.trainer.learning.views import View, local_weights_can_act


class LibraryLearner:
    """`algorithm` over the spaces of `view`; `signature` and the actions' grid are written into every policy."""

    waits_for_version = False

    def __init__(self, algorithm: BaseAlgorithm, view: View, signature: str) -> None:
        self._library, self.view, self._signature = algorithm, view, signature
        self._dropped = 0
        self.average: Average[nn.Module] | None = None
        self.exploration_correlation = 0.0
        """Of a bridge's noise with that of the step before."""

    def act(self, observations: Any, explore: bool) -> AnyArray:
        """As the learner's protocol says."""
        actions, _ = self._library.predict(self.view.observed(observations), deterministic=not explore)
        return self.view.done(np.asarray(actions))

    def losses(self) -> dict[str, float]:
        """The means that the latest call of `train` recorded, named without `train/`."""
        recorded = self._library.logger.name_to_value
        named = {name.rpartition("/")[2]: float(value) for name, value in recorded.items() if value is not None}
        # What a value network explains of returns that are all the same is no number.
        return {name: value for name, value in named.items() if name != "explained_variance" or math.isfinite(value)}

    def check(self) -> None:
        """Raise Diverged when the latest losses, a weight or a moment of an optimiser is no longer sane."""
        saved, variables = self._library._get_torch_save_params()
        optimizers = [one for name in saved if isinstance(one := recursive_getattr(self._library, name), Optimizer)]
        weights: list[Tensor] = [*self._library.policy.parameters()]
        weights += [recursive_getattr(self._library, name) for name in variables]
        states = (state for one in optimizers for state in one.state.values())
        moments = (value for state in states for value in state.values() if isinstance(value, Tensor))
        check_sane(self.losses(), {"a weight": weights, "a moment of an optimiser": moments})

    def policy(self, version: int) -> bytes:
        """As the learner's protocol says; where no local weights can act, all tensors of the library's policy."""
        if local_weights_can_act(self.view):
            averaged = None if self.average is None else self.average.module
            held = self.exploration_correlation
            return export_policy(self._library, version, self._signature, self.view.action_step, averaged, held)
        return export_state(self._library, version, self._signature)

    def state(self, counters: Counters) -> bytes:
        """A zip in stable-baselines3's format, which plain stable-baselines3 opens; without experience."""
        self._library.num_timesteps = counters.driven
        model = io.BytesIO()
        # Of this project's own classes, which plain stable-baselines3 does not have.
        self._library.save(model, exclude=["replay_buffer_class", "replay_buffer_kwargs"])
        if self.average is not None:
            self.average.add_to(model)
        return model.getvalue()

    def restore(self, state: bytes, counters: Counters) -> None:
        """Take networks and optimisers from `state`; only tensors are read, nothing that could execute."""
        algorithm = self._library
        _, params, variables = load_from_zip_file(io.BytesIO(state), load_data=False, device=algorithm.device)
        algorithm.set_parameters(params, exact_match=True, device=algorithm.device)
        for name in algorithm._get_torch_save_params()[1]:
            recursive_getattr(algorithm, name).data.copy_((variables or {})[name].data)
        if self.average is not None:
            self.average.take_from(io.BytesIO(state))
        # What the latest updates told is of the networks before.
        algorithm.logger.name_to_value.clear()
        algorithm._n_updates = counters.updates
        algorithm.num_timesteps = counters.driven

    def _is_sound(self, batch: Batch) -> bool:
        """Whether networks can take what is in the batch, whoever sent it."""
        return self.view.sound(self.view.observed_rows(batch.observations), self.view.chosen(batch.actions))

"""SAC whose `train` makes stable-baselines3's updates with less work around the matrix products.

The algorithm, the networks, the optimisers' states and the saved file are SAC's own; from the same seed the
parameters follow stable-baselines3's to rounding. What is won: no gradient of the critics' weights in the actor's step,
optimisers and targets that move in single fused calls, layers without torch's modules around them, and no number that
is read back before the end of a call, so that a GPU replays the whole update, sampling included, as one graph
(repeated.py).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor, nn

from train_cloud.trainer.learning.adam import FusedAdam
from train_cloud.trainer.learning.precision import Precision, matrix_products
from train_cloud.trainer.learning.repeated import Repeated, recorder_for
from train_cloud.trainer.learning.replay import PackedReplayBuffer

_LOG_SQRT_TAU = 0.5 * math.log(2 * math.pi)
_SQUASH_EPSILON = 1e-6
"""stable-baselines3's guard in the logarithm of tanh's derivative (SquashedDiagGaussianDistribution.epsilon)."""
_TOLD = ("ent_coef", "ent_coef_loss", "critic_loss", "actor_loss")


class FastSAC(SAC):
    """SAC over a PackedReplayBuffer, ReLU networks and a learned entropy coefficient; ValueError for others.

    `precision` is that of the networks' matrix products.
    """

    def __init__(self, *arguments: Any, precision: Precision = "float32", **options: Any) -> None:
        self._precision: Precision = precision
        super().__init__(*arguments, **options)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.use_sde or self.log_ent_coef is None or self.replay_buffer_class is not PackedReplayBuffer:
            raise ValueError("FastSAC needs ent_coef='auto…', no use_sde and a PackedReplayBuffer; use SAC otherwise")
        if self.target_update_interval != 1:
            raise ValueError("FastSAC's targets follow at each update; use SAC otherwise")
        self._totals = torch.zeros(len(_TOLD), device=self.device)
        self._body = linears_of(self.actor.latent_pi)
        self._critics, self._targets = ([*map(linears_of, of.q_networks)] for of in (self.critic, self.critic_target))
        self._followed, self._following = (
            [one.detach() for one in of.parameters()] for of in (self.critic, self.critic_target)
        )
        self._forget()

    def set_parameters(self, *arguments: Any, **options: Any) -> None:
        """As SAC.set_parameters."""
        super().set_parameters(*arguments, **options)
        self._forget()

    def _forget(self) -> None:
        """Begin anew: the optimisers' tensors are others than they were."""
        assert self.ent_coef_optimizer is not None
        self._optimizers = [self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer]
        self._adams = [FusedAdam(optimizer) for optimizer in self._optimizers]
        self._repeated: dict[tuple[int, bool], Repeated] = {}

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """As SAC.train: `gradient_steps` updates of critics, targets, actor and entropy coefficient."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self._optimizers)
        for adam in self._adams:
            adam.follow_rate()
        self._totals.zero_()
        assert isinstance(self.replay_buffer, PackedReplayBuffer)
        kind = batch_size, self.replay_buffer.mixes
        if kind not in self._repeated:
            self._repeated[kind] = Repeated(lambda: self._update(batch_size), recorder_for(self.device))
        for _ in range(gradient_steps):
            self._repeated[kind]()
        for adam in self._adams:
            adam.finish()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in zip(_TOLD, (self._totals / gradient_steps).tolist(), strict=True):
            self.logger.record(f"train/{name}", value)

    def _update(self, batch_size: int) -> None:
        """One update, on tensors that stay where they are; adds what it tells to the totals."""
        assert isinstance(self.replay_buffer, PackedReplayBuffer)
        assert self.log_ent_coef is not None
        actor_adam, critic_adam, coefficient_adam = self._adams
        batch = self.replay_buffer.sample(batch_size)
        actions, log_prob = self._act(batch.observations)

        with torch.no_grad():
            coefficient = self.log_ent_coef.exp()
            entropy_gap = log_prob.mean() + float(self.target_entropy)
            coefficient_loss = -self.log_ent_coef * entropy_gap
            coefficient_adam.step([-entropy_gap.view(1)])

            next_actions, next_log_prob = self._act(batch.next_observations)
            next_value = self._values(self._targets, batch.next_observations, next_actions).amin(1)
            following = next_value - coefficient * next_log_prob
            target = batch.rewards[:, 0] + (1.0 - batch.dones[:, 0]) * self.gamma * following

        error = self._values(self._critics, batch.observations, batch.actions) - target[:, None]
        critic_loss = 0.5 * error.square().mean(0).sum()
        critic_adam.minimise(critic_loss)

        least = self._values(self._critics, batch.observations, actions).min(1).values
        actor_loss = (coefficient * log_prob - least).mean()
        actor_adam.minimise(actor_loss)

        with torch.no_grad():
            torch._foreach_lerp_(self._following, self._followed, self.tau)
            told = torch.cat([coefficient, coefficient_loss, critic_loss.view(1), actor_loss.view(1)])
            self._totals.add_(told)

    def _values(self, critics: list[list[nn.Linear]], observations: Tensor, actions: Tensor) -> Tensor:
        """(B, critics)."""
        with matrix_products(self._precision, self.device):
            inputs = torch.cat([observations, actions], 1)
            values = torch.cat([_linear(_hidden(inputs, layers), last) for *layers, last in critics], 1)
        return values.float()

    def _act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, A) drawn from tanh(Normal(mean, std)), reparametrised, and their log-probabilities (B,).

        SAC's appendix C (arXiv 1801.01290), as SquashedDiagGaussianDistribution computes it.
        """
        with matrix_products(self._precision, self.device):
            latent = _hidden(observations, self._body)
            mean, log_std = (_linear(latent, head) for head in (self.actor.mu, self.actor.log_std))
        mean, log_std = mean.float(), log_std.float().clamp(LOG_STD_MIN, LOG_STD_MAX)
        noise = torch.randn_like(mean)
        actions = torch.tanh(mean + log_std.exp() * noise)
        logs = 0.5 * noise.square() + log_std + torch.log(1.0 - actions.square() + _SQUASH_EPSILON)
        return actions, -logs.sum(1) - _LOG_SQRT_TAU * noise.shape[1]

    def _excluded_save_params(self) -> list[str]:
        # The last two let plain stable-baselines3 open the file where this package is not installed.
        ours = ["_precision", "_totals", "_body", "_critics", "_targets", "_followed", "_following"]
        ours += ["_optimizers", "_adams", "_repeated"]
        return [*super()._excluded_save_params(), *ours, "replay_buffer_class", "replay_buffer_kwargs"]


def linears_of(module: nn.Module) -> list[nn.Linear]:
    """The linear layers of a Sequential of Linear and ReLU in turn; ValueError for anything else."""
    children = list(module.children())
    linears = [child for child in children if isinstance(child, nn.Linear)]
    between = [child for child in children if isinstance(child, nn.ReLU)]
    if len(linears) + len(between) != len(children) or len(linears) - len(between) not in (0, 1):
        raise ValueError(f"FastSAC needs linear layers with a ReLU between each two, not {module}; use SAC otherwise")
    return linears


def _hidden(x: Tensor, layers: list[nn.Linear]) -> Tensor:
    for layer in layers:
        x = _linear(x, layer).relu_()
    return x


def _linear(x: Tensor, layer: Any) -> Tensor:
    # Small networks' time goes into calls, and a module's is one of the dearest.
    return F.linear(x, layer.weight, layer.bias)

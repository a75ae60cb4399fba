"""SAC whose `train` makes stable-baselines3's updates with less work around the matrix products.

The algorithm, the networks, the optimisers' states and the saved file are SAC's own; from the same seed the
parameters follow stable-baselines3's to rounding. What is won: gradients are written out (no autograd graph, none
for the critics' weights in the actor's step), products over the same input are one, optimisers and targets move in
single fused calls, and no number is read back before the end of a call.
"""

import math
from collections.abc import Sequence

import torch
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor

from train_cloud.trainer.learning.dense import Critics, Dense, FusedAdam, Network, linears_of
from train_cloud.trainer.learning.replay import PackedReplayBuffer

_LOG_SQRT_TAU = 0.5 * math.log(2 * math.pi)
_SQUASH_EPSILON = 1e-6
"""stable-baselines3's guard in the logarithm of tanh's derivative (SquashedDiagGaussianDistribution.epsilon)."""


class FastSAC(SAC):
    """SAC over a PackedReplayBuffer, ReLU networks and a learned entropy coefficient; ValueError for others."""

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.use_sde or self.log_ent_coef is None or self.replay_buffer_class is not PackedReplayBuffer:
            raise ValueError("FastSAC needs ent_coef='auto…', no use_sde and a PackedReplayBuffer; use SAC otherwise")
        body = [Dense([linear]) for linear in linears_of(self.actor.latent_pi)]
        self._fast_actor = Network([*body, Dense([self.actor.mu, self.actor.log_std])])  # type: ignore[list-item]  # the heads are Linear without gSDE, typed for both
        self._fast_critics = Critics(self.critic.q_networks)
        self._fast_targets = Critics(self.critic_target.q_networks)
        self.log_ent_coef.grad = torch.zeros_like(self.log_ent_coef)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """As SAC.train: `gradient_steps` updates of critics, targets, actor and entropy coefficient."""
        assert self.ent_coef_optimizer is not None
        self.policy.set_training_mode(True)
        optimizers: list[torch.optim.Optimizer] = [self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer]
        self._update_learning_rate(optimizers)
        adams = [FusedAdam(optimizer) for optimizer in optimizers]
        totals = torch.zeros(4, device=self.device)
        with torch.no_grad():
            for step in range(gradient_steps):
                totals += self._update(batch_size, adams)
                if step % self.target_update_interval == 0:
                    torch._foreach_lerp_(self._fast_targets.tensors, self._fast_critics.tensors, self.tau)
            for adam in adams:
                adam.finish()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        names = ("ent_coef", "ent_coef_loss", "critic_loss", "actor_loss")
        for name, value in zip(names, (totals / gradient_steps).tolist(), strict=True):
            self.logger.record(f"train/{name}", value)

    def _update(self, batch_size: int, adams: Sequence[FusedAdam]) -> Tensor:
        """One update; returns (entropy coefficient, its loss, the critics' loss, the actor's loss)."""
        assert isinstance(self.replay_buffer, PackedReplayBuffer)
        assert self.log_ent_coef is not None
        assert self.log_ent_coef.grad is not None
        actor_adam, critic_adam, coefficient_adam = adams
        rows = self.replay_buffer.sample_rows(batch_size)
        batch = self.replay_buffer.unpack(rows)
        size, columns = batch.observations.shape[1], batch.observations.shape[1] + batch.actions.shape[1]

        # One pass of the actor for both the current and the next observations: it changes only at the end.
        values = self._fast_actor.forward(torch.cat([batch.observations, batch.next_observations]))
        sample = _SquashedSample(values[-1], batch_size)
        log_prob, next_log_prob = sample.log_prob[:batch_size], sample.log_prob[batch_size:]

        coefficient = self.log_ent_coef.exp()
        entropy_gap = log_prob.mean() + float(self.target_entropy)
        coefficient_loss = -self.log_ent_coef * entropy_gap
        self.log_ent_coef.grad.copy_(-entropy_gap)
        coefficient_adam.step()

        next_input = torch.cat([batch.next_observations, sample.action[batch_size:]], 1)
        next_value = self._fast_targets.forward(next_input)[0].amin(1) - coefficient * next_log_prob
        target = batch.rewards[:, 0] + (1.0 - batch.dones[:, 0]) * self.gamma * next_value

        q, trace = self._fast_critics.forward(rows[:, :columns])
        error = q - target.unsqueeze(1)
        critic_loss = 0.5 * error.square().mean(0).sum()
        self._fast_critics.store_gradient(trace, error / batch_size)
        critic_adam.step()

        q, trace = self._fast_critics.forward(torch.cat([batch.observations, sample.action[:batch_size]], 1))
        least, which = q.min(1, keepdim=True)
        actor_loss = (coefficient * log_prob - least[:, 0]).mean()
        gradient = torch.zeros_like(q).scatter_(1, which, -1.0 / batch_size)
        action_gradient = self._fast_critics.input_gradient(trace, gradient, slice(size, columns))
        output_gradient = sample.output_gradient(action_gradient, coefficient / batch_size)
        self._fast_actor.backward([value[:batch_size] for value in values], output_gradient, store=True)
        actor_adam.step()
        return torch.cat([coefficient, coefficient_loss, critic_loss.view(1), actor_loss.view(1)])

    def _excluded_save_params(self) -> list[str]:
        # The last two let plain stable-baselines3 open the file where this package is not installed.
        ours = ["_fast_actor", "_fast_critics", "_fast_targets", "replay_buffer_class", "replay_buffer_kwargs"]
        return [*super()._excluded_save_params(), *ours]


class _SquashedSample:
    """Actions drawn from tanh(Normal(mean, std)) for the actor's output (2B, 2A), reparametrised.

    Attributes:
        action: (2B, A).
        log_prob: (2B,), SAC's appendix C (arXiv 1801.01290), as SquashedDiagGaussianDistribution computes it.
    """

    def __init__(self, output: Tensor, batch_size: int) -> None:
        self._batch_size = batch_size
        mean, self._raw_log_std = output.chunk(2, 1)
        log_std = self._raw_log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        noise = torch.empty_like(log_std)
        # Two draws, not one: the order in which stable-baselines3 draws them.
        noise[:batch_size].normal_()
        noise[batch_size:].normal_()
        self._deviation = log_std.exp() * noise
        self.action = torch.tanh(mean + self._deviation)
        self._slope = 1.0 - self.action.square()
        logs = 0.5 * noise.square() + log_std + torch.log(self._slope + _SQUASH_EPSILON)
        self.log_prob = -logs.sum(1) - _LOG_SQRT_TAU * noise.shape[1]

    def output_gradient(self, action_gradient: Tensor, weight: Tensor) -> Tensor:
        """Gradient (B, 2A) of sum(action_gradient * action + weight * log_prob) over the first B samples."""
        first = slice(self._batch_size)
        action, slope, raw = self.action[first], self._slope[first], self._raw_log_std[first]
        inner = (action_gradient + weight * 2.0 * action / (slope + _SQUASH_EPSILON)) * slope
        spread = inner * self._deviation[first] - weight
        spread *= (raw >= LOG_STD_MIN) & (raw <= LOG_STD_MAX)
        return torch.cat([inner, spread], 1)

"""XQC: soft actor-critic whose critics classify (arXiv 2509.25174), with rewards summed over several steps.

SAC's actor, entropy coefficient and twin critics. What differs: all networks are normalised (normalised.py), so that
many updates of each transition do no harm; critics say how probable each of a row of values is, and learn by
cross-entropy, whose gradients do not grow with the error; both halves of a critic's batch, what was met and what the
policy would do next, are normalised together (arXiv 1902.05605); rewards are scaled to the values (return_scale.py). An
update copies no number to the host, so that a GPU's queue never runs dry.
"""

import copy
import math
from typing import Final

import torch
import torch.nn.functional as F
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor, nn

from racing.policy import LOG_STD_MAX, LOG_STD_MIN
from train_cloud.run_config import RunConfig
from train_cloud.trainer.learning.adam import FusedAdam
from train_cloud.trainer.learning.normalised import NormalisedNetwork, project
from train_cloud.trainer.learning.precision import matrix_products
from train_cloud.trainer.learning.return_scale import ReturnScale

CRITICS: Final = 2
FIRST_SPREAD: Final = 0.1
"""How far from zero, as a share of the greatest value, a critic that has seen nothing says that values are."""
_LOG_SQRT_TAU = 0.5 * math.log(2 * math.pi)


class Networks(nn.Module):
    """All that is learned, for observations (B, D) and actions (B, A) in -1 to 1; its state dict holds everything.

    Attributes:
        actor: gives (B, 2A), means and log standard deviations before tanh.
        critics, targets: each gives logits (B, bins) of `values` for (observation | action).
        log_coefficient: (), of the entropy, in scaled rewards per nat.
        scale: what rewards are divided by.
        values: (bins,), scaled.
    """

    values: Tensor

    def __init__(self, config: RunConfig, observation_size: int, action_size: int) -> None:
        super().__init__()
        greatest, bins = config.xqc.greatest_value, config.xqc.bins
        hidden = config.critic_network or config.network
        self.actor = NormalisedNetwork(observation_size, config.network, 2 * action_size)
        self.register_buffer("values", torch.linspace(-greatest, greatest, bins))
        # Were all values equally probable at first, a target would narrow by no more than the discount each time.
        near_zero = -0.5 * (self.values / (FIRST_SPREAD * greatest)).square()
        sizes = observation_size + action_size, hidden, bins
        self.critics = nn.ModuleList(NormalisedNetwork(*sizes, last_bias=near_zero) for _ in range(CRITICS))
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_coefficient = nn.Parameter(torch.tensor(math.log(config.xqc.initial_entropy_coefficient)))
        self.scale = ReturnScale(greatest)

    def act(self, observations: Tensor, explore: bool) -> Tensor:
        """Actions (B, A) for (B, D)."""
        self.actor.eval()
        output: Tensor = self.actor(observations)
        return squashed_sample(output)[0] if explore else output.chunk(2, 1)[0].tanh()


class Xqc:
    """Makes updates of `networks`, which are on the device where batches are."""

    def __init__(self, config: RunConfig, networks: Networks, action_size: int) -> None:
        self.networks = networks
        self._settings, self._tau, self._gamma = config.xqc, config.tau, config.discount
        self._precision = config.precision
        self._target_entropy = -float(action_size) if config.target_entropy == "auto" else config.target_entropy
        learned = {
            "actor": networks.actor.parameters(),
            "critics": networks.critics.parameters(),
            "coefficient": [networks.log_coefficient],
        }
        self.optimizers = {
            name: torch.optim.Adam(parameters, lr=config.learning_rate) for name, parameters in learned.items()
        }
        self._followed, self._following = (
            [one.detach() for one in of.parameters()] for of in (networks.critics, networks.targets)
        )
        self.use_optimizers()

    def use_optimizers(self) -> None:
        """Go on with the optimisers as they are; for after their states were loaded."""
        self._adams = {name: FusedAdam(optimizer) for name, optimizer in self.optimizers.items()}

    def update(self, batch: ReplayBufferSamples, acts: bool = True) -> dict[str, Tensor]:
        """One update of the critics, and if it `acts` one of the actor and the coefficient too; losses, () each.

        `batch` has `rewards` and `dones` (B, 1) as returns.py says them, so that windows may be of several steps.
        """
        losses = {"critic_loss": self._learn_values(batch)}
        return losses | self._learn_to_act(batch.observations) if acts else losses

    def finish(self) -> None:
        """Bring the optimisers' counts of steps up to date."""
        for adam in self._adams.values():
            adam.finish()

    def _learn_values(self, batch: ReplayBufferSamples) -> Tensor:
        networks, count = self.networks, len(batch.rewards)
        with torch.no_grad():
            networks.actor.eval()
            next_actions, next_log_prob = squashed_sample(self._of(networks.actor, batch.next_observations))
            met = torch.cat([batch.observations, batch.actions], 1)
            both = torch.cat([met, torch.cat([batch.next_observations, next_actions], 1)])
            target = self._target(both, batch, next_log_prob)
        networks.critics.train()
        # Summed, because the critics share no weight: each moves as it would alone.
        told = [self._of(critic, both, slice(count)) for critic in networks.critics]
        loss = torch.stack([F.cross_entropy(logits, target) for logits in told]).sum()
        self._adams["critics"].minimise(loss)
        for critic in networks.critics:
            _normalised(critic).normalise_weights()
        torch._foreach_lerp_(self._following, self._followed, self._tau)
        return loss.detach() / CRITICS

    def _target(self, both: Tensor, batch: ReplayBufferSamples, next_log_prob: Tensor) -> Tensor:
        """(B, bins), what the critics should say: what was met, then what the more cautious target expects."""
        networks, greatest = self.networks, self._settings.greatest_value
        # Normalised by this batch, as the critics are; the running figures of a target are never used.
        networks.targets.train()
        following = slice(len(batch.rewards), None)
        logits = torch.stack([self._of(target, both, following) for target in networks.targets])
        probabilities = logits.softmax(-1)
        least = (probabilities @ networks.values).argmin(0)
        chosen = probabilities.gather(0, least.view(1, -1, 1).expand(1, -1, len(networks.values)))[0]
        entropy = -networks.log_coefficient.exp() * next_log_prob
        discounts = self._gamma * (1.0 - batch.dones)
        values = batch.rewards / networks.scale() + discounts * (networks.values + entropy[:, None])
        return project(values, chosen, -greatest, greatest, len(networks.values))

    def _learn_to_act(self, observations: Tensor) -> dict[str, Tensor]:
        networks = self.networks
        networks.actor.train()
        networks.critics.eval()
        actions, log_prob = squashed_sample(self._of(networks.actor, observations))
        inputs = torch.cat([observations, actions], 1)
        values = torch.stack([self._of(critic, inputs).softmax(-1) @ networks.values for critic in networks.critics])
        coefficient = networks.log_coefficient.exp().detach()
        loss = (coefficient * log_prob - values.amin(0)).mean()
        self._adams["actor"].minimise(loss)
        networks.actor.normalise_weights()
        coefficient_loss = -networks.log_coefficient * (log_prob.detach().mean() + self._target_entropy)
        self._adams["coefficient"].minimise(coefficient_loss)
        named = {"actor_loss": loss, "ent_coef_loss": coefficient_loss, "ent_coef": coefficient}
        return {name: value.detach() for name, value in named.items()}

    def _of(self, network: nn.Module, inputs: Tensor, rows: slice = slice(None)) -> Tensor:
        """What a network gives for these rows of its batch, float32."""
        with matrix_products(self._precision, inputs.device):
            outputs: Tensor = network(inputs, rows)
        return outputs.float()


def squashed_sample(output: Tensor) -> tuple[Tensor, Tensor]:
    """Actions (B, A) of tanh(Normal(mean, std)) for an actor's output (B, 2A), and their log-probabilities (B,).

    Reparametrised: gradients pass through both.
    """
    mean, log_std = output.chunk(2, 1)
    log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
    noise = torch.randn_like(mean)
    raw = mean + log_std.exp() * noise
    # log(1 - tanh(x)^2), in a form that holds for any x.
    slope = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
    log_prob = -(0.5 * noise.square() + log_std + _LOG_SQRT_TAU + slope).sum(1)
    return raw.tanh(), log_prob


def _normalised(module: nn.Module) -> NormalisedNetwork:
    assert isinstance(module, NormalisedNetwork)
    return module

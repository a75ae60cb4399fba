"""What others than a policy drove: kept for ever beside the replay, and learned from in a share of each batch.

So learns RLPD (arXiv 2302.02948): half of each batch shows how it is done from the first update on, the other half
what the policy makes of it. A demonstration is worth what it brought: a bad one is tried less as soon as the critics
know better.
"""

import logging
from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from stable_baselines3.common.buffers import ReplayBuffer
from torch import Tensor, nn

from experience.batches import BoolArray, Float32Array
from runtime.logs import fields
from train_cloud import notify
from train_cloud.run_config import MAX_DEMONSTRATIONS
from train_cloud.trainer.learning.replay import PackedReplayBuffer

CLONED_AT_A_STRETCH: Final = 1_000
"""After so many updates systemd is told each time that the trainer lives: there may be a million of them."""

_log = logging.getLogger(__name__)


class Demonstrations(PackedReplayBuffer):
    """The first `buffer_size` transitions that are inserted; those that find no room are left out and counted."""

    left_out = 0

    def insert(
        self,
        observations: Float32Array,
        actions: Float32Array,
        rewards: Float32Array,
        next_observations: Float32Array,
        done: Float32Array | BoolArray,
    ) -> None:
        """Append as many of T transitions as there is room for; as PackedReplayBuffer."""
        room = slice(0 if self.full else self.buffer_size - self.pos)
        if (over := len(rewards) - room.stop) > 0:
            if not self.left_out:
                told = (
                    "there is no room for more demonstrations: the first ones stay, others are not learned from. Where "
                    "they are no good, setting `demonstration_share` to 0 learns without them; a new run has none"
                )
                _log.warning(told, extra=fields(kept=self.buffer_size))
            self.left_out += over
        super().insert(observations[room], actions[room], rewards[room], next_observations[room], done[room])

    def saved(self) -> bytes:
        """All rows, as a safetensors file."""
        return save({"rows": self.rows[: self.size()].contiguous()})

    def restore(self, file: bytes) -> None:
        """Take the rows that `saved` gave. Raises KeyError, ValueError or RuntimeError when they are others."""
        rows = load(file)["rows"]
        if len(rows) > self.buffer_size:
            raise ValueError(f"{len(rows)} demonstrated steps, and room for {self.buffer_size}")
        self.rows[: len(rows)].copy_(rows)
        self.pos, self.full = len(rows) % self.buffer_size, len(rows) == self.buffer_size
        self._held.fill_(self.size())


def beside(replay: ReplayBuffer) -> Demonstrations | None:
    """Demonstrations that `replay` samples from, too; None for images and dictionaries, where they are like the rest.

    There is room for no more than in the replay buffer itself, whose size is what the machine has memory for.
    """
    if not isinstance(replay, PackedReplayBuffer):
        return None
    size = min(MAX_DEMONSTRATIONS, replay.buffer_size)
    made = Demonstrations(size, replay.observation_space, replay.action_space, device=replay.device)
    replay.beside = made
    return made


def clone_behaviour(
    shown: Demonstrations,
    module: nn.Module,
    act: Callable[[Tensor], Tensor],
    updates: int,
    batch_size: int,
    learning_rate: float,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Let `module` learn to `act` (B, D -> B, A without exploration) as was demonstrated.

    What is regressed are the actions themselves, after tanh: full throttle would lie at infinity before it. The spread
    that the policy explores with stays as it is. `after` is called after each update.
    """
    module.train()
    optimizer, loss = torch.optim.Adam(module.parameters(), lr=learning_rate), torch.zeros(())
    for made in range(1, updates + 1):
        batch = shown.sample(batch_size)
        loss = F.mse_loss(act(batch.observations), batch.actions)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimizer.step()
        after()
        if made % CLONED_AT_A_STRETCH == 0:
            notify.alive()
    module.eval()
    told = fields(updates=updates, squared_error=round(loss.item(), 5))
    _log.info("the policy begins as a copy of what was demonstrated", extra=told)

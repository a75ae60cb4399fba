"""A replay buffer that knows what followed each transition, so that a sample sums the rewards of several steps.

A window ends where the episode ends, where a step is missing (lost, or off the control period), and where nothing more
is known yet; it is then shorter, and discounted for the steps that it has.
"""

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from experience.batches import AnyArray, Float32Array
from train_cloud.trainer.learning.replay import DIGEST_ROWS, PackedReplayBuffer
from train_cloud.trainer.learning.rollout import Run

MAX_OPEN: Final = 10_000
"""So many cars are waited for to go on where they were."""


class Windows(NamedTuple):
    """B windows of up to n steps: where each began, what was done there, what it brought, and where it ended.

    Attributes:
        observations, actions: (B, D), (B, A) of the first step.
        rewards: (B,), the sum of its steps' rewards, each discounted from the first step on.
        next_observations: (B, D), what its last step led to.
        discounts: (B,), of the value of that; 0 where the episode has terminated.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    discounts: Tensor


class WindowReplayBuffer(PackedReplayBuffer):
    """A PackedReplayBuffer of runs of steps, which are discounted by `gamma` each."""

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        gamma: float,
        **options: Any,
    ) -> None:
        super().__init__(buffer_size, observation_space, action_space, **options)
        self.gamma = gamma
        self.offsets = torch.zeros(buffer_size, dtype=torch.int64, device=self.device)
        """How many rows after each the same car's next step lies, round the end of the buffer; 0 for none."""
        self._inserted = 0
        self._open: dict[tuple[int, int, bytes], tuple[int, float]] = {}
        """By what a car's next step is known: the number of its newest row, and the return so far."""

    def append(self, runs: list[Run], observations: Float32Array, actions: AnyArray) -> Float32Array:
        """Take in runs of T steps: their rows as networks see them, (T + R, D), and actions (T, A) in -1 to 1.

        Returns (T,), the discounted return of the episode up to each step, in which the newest reward counts most.
        """
        number, returns = self._inserted, []
        offsets: dict[int, int] = {}
        for run in runs:
            last, so_far = self._open.pop((run.car, run.first_step, run.rows[0].tobytes()), (None, 0.0))
            if last is not None:
                offsets[last] = number - last
            offsets |= dict.fromkeys(range(number, number + run.steps), 1)
            for reward in run.rewards.tolist():
                so_far = self.gamma * so_far + reward
                returns.append(so_far)
            number += run.steps
            offsets[number - 1] = 0
            if not run.ended:
                self._open[run.car, run.first_step + run.steps, run.rows[-1].tobytes()] = number - 1, so_far
        while len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._insert_runs(runs, observations, actions)
        self._inserted = number
        self._link(offsets)
        return np.array(returns, np.float32)

    def sample_windows(self, batch_size: int, steps: int) -> Windows:
        """Windows of up to `steps` steps; the first is drawn uniformly with replacement by torch's generator."""
        index = torch.randint(self.size(), (batch_size,), device=self.device)
        first = self.unpack(self.rows.index_select(0, index))
        last, rewards = first, first.rewards[:, 0].clone()
        discounts = torch.full_like(rewards, self.gamma)
        for _ in range(steps - 1):
            offset = self.offsets.index_select(0, index)
            goes_on = (offset > 0).float()
            index = (index + offset) % self.buffer_size
            last = self.unpack(self.rows.index_select(0, index))
            rewards += goes_on * discounts * last.rewards[:, 0]
            discounts *= 1.0 - goes_on * (1.0 - self.gamma)
        discounts *= 1.0 - last.dones[:, 0]
        return Windows(first.observations, first.actions, rewards, last.next_observations, discounts)

    def digest(self) -> str:
        """A PackedReplayBuffer's digest, and what follows its rows."""
        newest = torch.arange(self.pos - min(self.size(), DIGEST_ROWS), self.pos, device=self.device)
        told = self.offsets.index_select(0, newest % self.buffer_size).cpu().numpy().astype("<i8").tobytes()
        return hashlib.sha256(super().digest().encode() + told).hexdigest()

    def _insert_runs(self, runs: list[Run], observations: Float32Array, actions: AnyArray) -> None:
        if not runs:
            return
        lengths = np.array([run.steps for run in runs])
        rows = np.arange(lengths.sum()) + np.repeat(np.arange(len(runs)), lengths)
        terminated = np.zeros(len(rows), bool)
        terminated[np.cumsum(lengths) - 1] = [run.terminated for run in runs]
        rewards = np.concatenate([run.rewards for run in runs])
        self.insert(observations[rows], actions, rewards, observations[rows + 1], terminated)

    def _link(self, offsets: dict[int, int]) -> None:
        """Say of the rows of these numbers, as far as they are still held, what follows them."""
        oldest = self._inserted - self.buffer_size
        numbers = torch.tensor([number for number in offsets if number >= oldest], dtype=torch.int64)
        values = torch.tensor([offset for number, offset in offsets.items() if number >= oldest], dtype=torch.int64)
        places = (self.pos - self._inserted + numbers) % self.buffer_size
        self.offsets[places.to(self.device)] = values.to(self.device)

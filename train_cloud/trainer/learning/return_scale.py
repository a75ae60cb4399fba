"""Scales rewards by how far discounted returns spread, so that values fit the bins of a categorical critic.

After SimbaV2 (arXiv 2502.15280, section 4.3): a reward is divided by the standard deviation of the returns so far, or
by what brings the greatest of them to the greatest value that a critic can say, whichever is more.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from experience.batches import Float32Array
from train_cloud.trainer.learning.rollout import Run

MAX_OPEN: Final = 10_000
"""So many cars are waited for to go on where they were."""
_EPSILON = 1e-8


class EpisodeReturns:
    """The discounted returns of episodes, in whatever pieces the steps of their cars come."""

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma
        self._open: dict[tuple[int, int, bytes], float] = {}
        """By what a car's next step is known: the return so far."""

    def of(self, runs: list[Run]) -> Float32Array:
        """For each step of the runs (T,), the return of its episode up to it, in which the newest reward counts most.

        It begins anew with an episode, and where a step is missing.
        """
        returns = []
        for run in runs:
            so_far = self._open.pop((run.car, run.first_step, run.rows[0].tobytes()), 0.0)
            for reward in run.rewards.tolist():
                so_far = self._gamma * so_far + reward
                returns.append(so_far)
            if not run.ended:
                self._open[run.car, run.first_step + run.steps, run.rows[-1].tobytes()] = so_far
        while len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        return np.array(returns, np.float32)


class ReturnScale(nn.Module):
    """Running figures of returns, as buffers that a state dict holds; `greatest_value` is a critic's, in scaled units.

    They are float64: of many returns, a float32's count and mean would move no more.
    """

    moments: Tensor
    """(4,): how many returns, their mean, the sum of their squared distances from it, the greatest either way."""

    def __init__(self, greatest_value: float) -> None:
        super().__init__()
        self._greatest_value = greatest_value
        self.register_buffer("moments", torch.zeros(4, dtype=torch.float64))

    def add(self, returns: Float32Array) -> None:
        """Take in (T,) returns, each the discounted return of an episode up to a step."""
        if not len(returns):
            return
        count, mean, squares, greatest = self.moments.tolist()
        values = returns.astype("f8")
        total, gap = count + len(values), float(values.mean()) - mean
        moments = [
            total,
            mean + gap * len(values) / total,
            squares + float(((values - values.mean()) ** 2).sum()) + gap**2 * count * len(values) / total,
            max(greatest, float(abs(values).max())),
        ]
        self.moments.copy_(torch.tensor(moments, dtype=torch.float64))

    def forward(self) -> Tensor:
        """What rewards are divided by, (); without a copy to the host."""
        count, _, squares, greatest = self.moments.unbind()
        spread = (squares / count.clamp(min=1.0) + _EPSILON).sqrt()
        return torch.maximum(spread, greatest / self._greatest_value).float()

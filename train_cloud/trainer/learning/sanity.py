"""Looks at a learner's numbers: whether it still learns, which reports and finite weights alone do not tell.

An optimiser whose second moments are infinite moves its weights no more, and every report looks normal.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor

MAX_SANE: Final = 1e25
"""No loss, weight or moment of a run that learns comes near."""


class Diverged(Exception):
    """Learning has left all bounds; the text says where, and what to do."""


def check_sane(losses: Mapping[str, float], tensors: Mapping[str, Iterable[Tensor]]) -> None:
    """Raise Diverged when a loss, or a number in one of the `tensors` (by what they are), is not finite or not sane."""
    for name, loss in losses.items():
        if not abs(loss) <= MAX_SANE:
            raise _diverged(f"the figure {name} is {loss:.3g}")
    for name, group in tensors.items():
        greatest = [tensor.detach().abs().max().float() for tensor in group if tensor.numel()]
        # The greatest of them is NaN where one is.
        if greatest and not (most := float(torch.stack(greatest).max())) <= MAX_SANE:
            raise _diverged(f"{name} reached {most:.3g}")


def _diverged(where: str) -> Diverged:
    return Diverged(
        f"Training has diverged: {where}. Nothing is saved of it: the last checkpoint is still good. Look at what the "
        "bridges send and at the reward, or lower the learning rate; the run goes on from that checkpoint."
    )

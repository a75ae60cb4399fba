"""Networks whose scale cannot drift: batch normalisation around every layer, and weights of unit length.

After CrossQ with weight normalisation (arXiv 2502.07523) and XQC (arXiv 2509.25174): what a normalised layer computes
does not depend on the length of its weights, but how far a gradient turns them does. Rows that are brought back to
length one after each step keep the effective learning rate what it is set to.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOMENTUM: Final = 0.1
"""Share of a batch in the running figures that stand for batches where a network acts.

The papers' 0.01 suits a million updates; within the first thousands such figures lag behind the weights.
"""
EPSILON: Final = 1e-3
"""Least variance of a channel: one that hardly ever moves is not blown up when it does."""


class NormalisedNetwork(nn.Sequential):
    """Batch normalisation; for each of the `hidden` layers a linear one, batch normalisation, ReLU; a linear layer.

    In training mode it normalises by the batch and keeps running figures; in evaluation mode it goes by these.
    `last_bias` (outputs,) is what is added to the outputs at first; None for nothing.
    """

    def __init__(self, inputs: int, hidden: Iterable[int], outputs: int, last_bias: Tensor | None = None) -> None:
        modules: list[nn.Module] = [_normalisation(inputs)]
        widths = [inputs, *hidden]
        for before, after in pairwise(widths):
            # The normalisation's own offset stands for a bias.
            modules += [nn.Linear(before, after, bias=False), _normalisation(after), nn.ReLU()]
        last = nn.Linear(widths[-1], outputs)
        with torch.no_grad():
            last.bias.copy_(torch.zeros(outputs) if last_bias is None else last_bias)
        super().__init__(*modules, last)
        for weight in self._weights():
            nn.init.orthogonal_(weight)
        self.normalise_weights()

    def forward(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """(B, inputs) to the outputs of these `rows`; figures are of the whole batch."""
        *hidden, last = self
        for module in hidden:
            if isinstance(module, nn.Linear):
                x = F.linear(x, module.weight)
            elif isinstance(module, nn.BatchNorm1d):
                of = (module.running_mean, module.running_var, module.weight, module.bias)
                x = F.batch_norm(x, *of, self.training, MOMENTUM, EPSILON)
            else:
                x = x.relu()
        return last(x[rows])  # type: ignore[no-any-return]  # a module's call is untyped

    @torch.no_grad()
    def normalise_weights(self) -> None:
        """Bring each row of every linear layer's weights to length one; for after each step of the optimiser."""
        for weight in self._weights():
            weight.div_(torch.linalg.vector_norm(weight, dim=1, keepdim=True))

    def _weights(self) -> list[Tensor]:
        return [module.weight for module in self if isinstance(module, nn.Linear)]


def _normalisation(width: int) -> nn.Module:
    made = nn.BatchNorm1d(width, eps=EPSILON, momentum=MOMENTUM)
    # How many batches there were says nothing where the share of each is fixed; counting costs a call.
    made.num_batches_tracked = None
    return made


def project(values: Tensor, probabilities: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Distributions over any values as distributions over `bins` equally spaced ones from `low` to `high`.

    (B, K) values and their probabilities give (B, bins): each value's probability goes to its two neighbours, so that
    the mean stays what it was (arXiv 1707.06887), and beyond the ends to the end. One value of probability one (K = 1)
    is what is called two-hot.
    """
    place = (values.clamp(low, high) - low) * ((bins - 1) / (high - low))
    below = place.floor().clamp(max=bins - 2)
    share = place - below
    index = below.long()
    result = torch.zeros(len(values), bins, dtype=values.dtype, device=values.device)
    result.scatter_add_(1, index, probabilities * (1.0 - share))
    return result.scatter_add_(1, index + 1, probabilities * share)

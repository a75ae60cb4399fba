"""torch's Adam, stepped by one call of its fused kernel: around it, `Adam.step` takes longer than small networks' step.

The moments stay the optimiser's own tensors and move in place, so that the optimiser saves and loads them as ever, and
a CUDA graph may replay the step.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class FusedAdam:
    """Steps `optimizer`, an Adam of one group of parameters on one device.

    Its counts of steps are brought up to date by `finish`. Build a new one after the optimiser's state was loaded:
    loading replaces the state's tensors.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        (self._group,) = optimizer.param_groups
        # Whoever loads it goes on by the kernel as well, and may do so in a graph.
        self._group |= {"fused": True, "foreach": None, "capturable": True}
        self._parameters: list[Tensor] = self._group["params"]
        self._moved = [parameter.detach() for parameter in self._parameters]
        states = [_state(optimizer, parameter) for parameter in self._parameters]
        self._means, self._squares, self._counts = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        # All parameters have made the same number of steps: counting them once saves a call for each.
        self._step = self._counts[0].clone()
        self._rate = torch.zeros_like(self._step)
        self.follow_rate()

    def follow_rate(self) -> None:
        """Take the learning rate that the optimiser's group has now."""
        self._rate.fill_(self._group["lr"])

    def minimise(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, which is found for these parameters and no others."""
        self.step(torch.autograd.grad(loss, self._parameters))

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step for these gradients."""
        group = self._group
        self._step += 1.0
        torch._fused_adam_(
            self._moved,
            # The kernel goes through all tensors as they lie in memory; autograd may have found a transposed one.
            [gradient.contiguous() for gradient in gradients],
            self._means,
            self._squares,
            [],
            [self._step] * len(self._moved),
            lr=self._rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def finish(self) -> None:
        """Bring the optimiser's counts of steps up to date."""
        torch._foreach_copy_(self._counts, [self._step] * len(self._counts))


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    state: dict[str, Any] = optimizer.state[parameter]
    if not state:  # as torch.optim.Adam begins
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    return state

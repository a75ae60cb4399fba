"""torch's Adam, stepped by one call of its fused kernel: around it, `Adam.step` takes longer than small networks' step.

The moments and counts stay the optimiser's own tensors and move in place, so that the optimiser saves and loads them as
ever, and a CUDA graph may replay the step.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class FusedAdam:
    """Steps `optimizer`, an Adam of one group of parameters on one device.

    Build a new one after the optimiser's state was loaded: loading replaces the state's tensors.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        (self._group,) = optimizer.param_groups
        # What is saved goes on by either way, and in a graph of a reader's own.
        self._group |= {"fused": True, "foreach": None, "capturable": True}
        self.parameters: list[Tensor] = self._group["params"]
        states: list[dict[str, Any]] = [optimizer.state[parameter] for parameter in self.parameters]
        for parameter, state in zip(self.parameters, states, strict=True):
            if not state:  # as torch.optim.Adam begins
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        self._moved = [parameter.detach() for parameter in self.parameters]
        self._means, self._squares, self._steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        self._rate = torch.zeros((), dtype=torch.float32, device=self.parameters[0].device)
        self.follow_rate()

    def follow_rate(self) -> None:
        """Take the learning rate that the optimiser's group has now."""
        self._rate.fill_(self._group["lr"])

    def minimise(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, which is found for these parameters and no others."""
        gradients = torch.autograd.grad(loss, self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.step(gradients)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step for these gradients."""
        group = self._group
        torch._foreach_add_(self._steps, 1.0)
        torch._fused_adam_(
            self._moved,
            [*gradients],
            self._means,
            self._squares,
            [],
            self._steps,
            lr=self._rate,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

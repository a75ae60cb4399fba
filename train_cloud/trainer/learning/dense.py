"""Dense layers with hand-written gradients, over the parameters of ordinary torch modules.

Layers that see the same input are merged into one matrix: their parameters become views of it, so that torch's own
loading and saving go on working on them. ReLU networks only; every call is made without autograd.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Dense:
    """y = x @ weight.T + bias for one or several merged linear layers; weight (outputs, inputs).

    A layer of one output (a critic's last) is computed element by element: the overhead of a matrix product is
    several times such a layer's arithmetic.
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        self.weight, self.weight_gradient = _merge([linear.weight for linear in linears])
        self.bias, self.bias_gradient = _merge([linear.bias for linear in linears])
        self._single = len(self.bias) == 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        if self._single:
            return (x * self.weight).sum(1, keepdim=True) + self.bias
        return torch.addmm(self.bias, x, self.weight.t())

    def store_gradient(self, x: Tensor, gradient: Tensor) -> None:
        """Set the parameters' gradients for input x (B, inputs) and the output's gradient (B, outputs)."""
        if self._single:
            torch.sum(gradient * x, 0, keepdim=True, out=self.weight_gradient)
        else:
            torch.mm(gradient.t(), x, out=self.weight_gradient)
        torch.sum(gradient, 0, out=self.bias_gradient)

    def backward(self, gradient: Tensor) -> Tensor:
        """The input's gradient (B, inputs) for the output's."""
        return gradient * self.weight if self._single else torch.mm(gradient, self.weight)


class Network:
    """A ReLU network: dense layers with a ReLU between each two."""

    def __init__(self, layers: Sequence[Dense]) -> None:
        self.layers = layers

    def forward(self, x: Tensor) -> list[Tensor]:
        """The inputs of all layers in order, then the output."""
        values = [x]
        for layer in self.layers[:-1]:
            values.append(layer.forward(values[-1]).relu_())
        values.append(self.layers[-1].forward(values[-1]))
        return values

    def backward(self, values: Sequence[Tensor], gradient: Tensor, *, store: bool) -> Tensor:
        """Carry the output's gradient back through `values` (from `forward`) to the first layer's output.

        Sets the parameters' gradients when `store`.
        """
        for number in range(len(self.layers) - 1, -1, -1):
            if store:
                self.layers[number].store_gradient(values[number], gradient)
            if number > 0:
                gradient = relu_backward(self.layers[number].backward(gradient), values[number])
        return gradient


class Critics:
    """Several critics of (observation | action) as ReLU networks that share the first matrix product."""

    def __init__(self, q_networks: Sequence[nn.Module]) -> None:
        linears = [linears_of(network) for network in q_networks]
        self._first = Dense([each[0] for each in linears])
        self._width = linears[0][0].out_features
        self._rest = [Network([Dense([linear]) for linear in each[1:]]) for each in linears]
        dense = [self._first, *(layer for network in self._rest for layer in network.layers)]
        self.tensors = [tensor for layer in dense for tensor in (layer.weight, layer.bias)]
        """The parameters' values, merged as they are held."""

    def forward(self, x: Tensor) -> tuple[Tensor, list[Any]]:
        """(B, observation + action) to the values (B, critics), and what `backward` needs."""
        hidden = self._first.forward(x).relu_()
        parts = torch.split(hidden, self._width, 1)
        values = [network.forward(part) for network, part in zip(self._rest, parts, strict=True)]
        return torch.cat([value[-1] for value in values], 1), [x, hidden, values]

    def store_gradient(self, trace: list[Any], gradient: Tensor) -> None:
        """Set the parameters' gradients for the gradient (B, critics) of the values."""
        self._first.store_gradient(trace[0], self._to_first(trace, gradient, store=True))

    def input_gradient(self, trace: list[Any], gradient: Tensor, columns: slice) -> Tensor:
        """The gradient of these input columns; the parameters' gradients stay as they are."""
        return torch.mm(self._to_first(trace, gradient, store=False), self._first.weight[:, columns])

    def _to_first(self, trace: list[Any], gradient: Tensor, *, store: bool) -> Tensor:
        _, hidden, values = trace
        parts = []
        for number, (network, value) in enumerate(zip(self._rest, values, strict=True)):
            part = network.backward(value, gradient[:, number : number + 1], store=store)
            parts.append(network.layers[0].backward(part))
        return relu_backward(torch.cat(parts, 1), hidden)


class FusedAdam:
    """Steps a torch Adam optimiser in one fused call, on the gradients in its parameters' `grad`.

    The moments stay the optimiser's own tensors; its counts of steps are brought up to date by `finish`. Build a new
    one of these after the optimiser's state was loaded.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        (self._group,) = optimizer.param_groups
        self._group["fused"] = True
        parameters: list[nn.Parameter] = self._group["params"]
        self._states: list[dict[str, Any]] = [optimizer.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, self._states, strict=True):
            if not state:  # as torch.optim.Adam begins
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        self._parameters = [parameter.data for parameter in parameters]
        self._gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self._means = [state["exp_avg"] for state in self._states]
        self._squares = [state["exp_avg_sq"] for state in self._states]
        # All parameters have made the same number of steps: counting them once saves a call for each.
        self._step = self._states[0]["step"].clone()

    def step(self) -> None:
        """Move the parameters by one Adam step."""
        group = self._group
        self._step += 1
        torch._fused_adam_(
            self._parameters,
            self._gradients,
            self._means,
            self._squares,
            [],
            [self._step] * len(self._parameters),
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def finish(self) -> None:
        """Bring the optimiser's counts of steps up to date."""
        for state in self._states:
            state["step"].copy_(self._step)


def relu_backward(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient before a ReLU for the gradient after it; `output` is what the ReLU gave."""
    result: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    return result


def linears_of(module: nn.Module) -> list[nn.Linear]:
    """The linear layers of a Sequential of Linear and ReLU in turn; ValueError for anything else."""
    children = list(module.children())
    linears = [child for child in children if isinstance(child, nn.Linear)]
    between = [child for child in children if isinstance(child, nn.ReLU)]
    if len(linears) + len(between) != len(children) or len(linears) - len(between) not in (0, 1):
        raise ValueError(f"hand-written gradients need linear layers with a ReLU between each two, not {module}")
    return linears


def _merge(parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One tensor of the parameters' values and one for their gradients; the parameters become views of both."""
    values = torch.cat([parameter.data for parameter in parameters])
    gradients = torch.zeros_like(values)
    rows = [len(parameter) for parameter in parameters]
    parts = torch.split(values, rows), torch.split(gradients, rows)
    for parameter, value, gradient in zip(parameters, *parts, strict=True):
        parameter.data, parameter.grad = value, gradient
    return values, gradients

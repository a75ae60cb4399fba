"""Normalised networks and the scale of rewards beside plain references."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from train_cloud.trainer.learning.normalised import EPSILON, MOMENTUM, NormalisedNetwork, project
from train_cloud.trainer.learning.return_scale import ReturnScale

FloatArray = npt.NDArray[np.float64]


def array(tensor: torch.Tensor | nn.Module) -> FloatArray:
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach().numpy().astype(np.float64)


def normalised(x: FloatArray, norm: nn.Module, by: tuple[FloatArray, FloatArray]) -> FloatArray:
    mean, variance = by
    return (x - mean) / np.sqrt(variance + EPSILON) * array(norm.weight) + array(norm.bias)


def reference(network: NormalisedNetwork, x: FloatArray, by_batch: bool) -> FloatArray:
    """What the network gives, layer by layer, by its batch or by its running figures."""
    for module in network:
        if isinstance(module, nn.BatchNorm1d):
            running = array(module.running_mean), array(module.running_var)  # type: ignore[arg-type]  # a buffer
            x = normalised(x, module, (x.mean(0), x.var(0)) if by_batch else running)
        elif isinstance(module, nn.Linear):
            x = x @ array(module.weight).T + (0.0 if module.bias is None else array(module.bias))
        else:
            x = np.maximum(x, 0.0)
    return x


def rows(count: int = 64, size: int = 5) -> torch.Tensor:
    return torch.randn(count, size) * torch.logspace(-1, 1, size) + torch.arange(size)


def lengths(network: NormalisedNetwork) -> FloatArray:
    weights = [array(module.weight) for module in network if isinstance(module, nn.Linear)]
    return np.concatenate([np.sqrt((weight**2).sum(1)) for weight in weights])


def test_a_network_normalises_by_the_batch_and_where_it_acts_by_running_figures() -> None:
    torch.manual_seed(0)
    network = NormalisedNetwork(5, [16, 8], 3)
    kinds = [type(module).__name__ for module in network]
    block = ["Linear", "BatchNorm1d", "ReLU"]
    assert kinds == ["BatchNorm1d", *block, *block, "Linear"]
    x = rows()
    network.train()
    assert np.allclose(array(network(x)), reference(network, array(x), by_batch=True), atol=1e-4)
    first = network[0]
    assert isinstance(first, nn.BatchNorm1d)
    assert np.allclose(array(first.running_mean), MOMENTUM * array(x).mean(0), atol=1e-5)  # type: ignore[arg-type]  # a buffer
    for _ in range(500):
        network(rows())
    network.eval()
    assert np.allclose(array(network(x)), reference(network, array(x), by_batch=False), atol=1e-4)
    assert np.abs(reference(network, array(x), False) - reference(network, array(x), True)).max() < 1.0


def test_rows_of_weights_have_length_one_at_first_and_after_each_projection() -> None:
    torch.manual_seed(0)
    network = NormalisedNetwork(5, [16, 8], 3)
    assert np.allclose(lengths(network), 1.0, atol=1e-6)
    before = [array(parameter).copy() for parameter in network.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0).add_(0.5 if parameter.ndim == 1 else 0.0)
    assert np.allclose(lengths(network), 3.0, atol=1e-5)
    network.normalise_weights()
    assert np.allclose(lengths(network), 1.0, atol=1e-6)
    for parameter, old in zip(network.parameters(), before, strict=True):
        # Directions stay, and what is no matrix stays as the optimiser left it.
        assert np.allclose(array(parameter), old if parameter.ndim == 2 else 3.0 * old + 0.5, atol=1e-6)


def plain_projection(values: FloatArray, probabilities: FloatArray, low: float, high: float, bins: int) -> FloatArray:
    """Algorithm 1 of arXiv 1707.06887, in loops."""
    support, result = np.linspace(low, high, bins), np.zeros((len(values), bins))
    step = support[1] - support[0]
    for row in range(len(values)):
        for value, probability in zip(values[row], probabilities[row], strict=True):
            place = (min(max(value, low), high) - low) / step
            below, above = int(np.floor(place + 1e-9)), int(np.ceil(place - 1e-9))
            if below == above:
                result[row, below] += probability
            else:
                result[row, below] += probability * (above - place)
                result[row, above] += probability * (place - below)
    return result


def test_a_projected_distribution_is_the_plain_loops_and_keeps_its_mean() -> None:
    rng = np.random.default_rng(1)
    values, probabilities = rng.normal(0.0, 4.0, (200, 7)), rng.dirichlet(np.ones(7), 200)
    told = array(project(torch.tensor(values), torch.tensor(probabilities), -5.0, 5.0, 21))
    assert np.allclose(told, plain_projection(values, probabilities, -5.0, 5.0, 21), atol=1e-9)
    assert np.allclose(told.sum(1), 1.0)
    means = (values.clip(-5.0, 5.0) * probabilities).sum(1)
    assert np.allclose(told @ np.linspace(-5.0, 5.0, 21), means)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.0, [0, 0, 1, 0, 0]),
        (0.25, [0, 0, 0.75, 0.25, 0]),
        (-1.5, [0.5, 0.5, 0, 0, 0]),
        (2.0, [0, 0, 0, 0, 1]),
        (99.0, [0, 0, 0, 0, 1]),
        (-99.0, [1, 0, 0, 0, 0]),
    ],
)
def test_one_value_is_two_hot(value: float, wanted: list[float]) -> None:
    assert project(torch.tensor([[value]]), torch.ones(1, 1), -2.0, 2.0, 5).tolist() == [wanted]


def test_rewards_are_divided_by_the_spread_of_returns_in_whatever_pieces_they_came() -> None:
    returns = np.random.default_rng(2).normal(50.0, 3.0, 1_000).astype(np.float32)
    # The greatest value is large enough here not to matter.
    at_once, pieces = ReturnScale(1_000.0), ReturnScale(1_000.0)
    at_once.add(returns)
    for begin in (0, 1, 7, 500):
        pieces.add(returns[begin : {0: 1, 1: 7, 7: 500, 500: 1_000}[begin]])
    pieces.add(returns[:0])
    assert float(at_once()) == pytest.approx(returns.std(), rel=1e-5)
    assert float(pieces()) == pytest.approx(float(at_once()), rel=1e-6)


def test_no_return_is_scaled_beyond_the_greatest_value() -> None:
    scale = ReturnScale(5.0)
    scale.add(np.array([0.0, 0.0, 0.0, -80.0], np.float32))
    assert float(scale()) == pytest.approx(80.0 * np.sqrt(3.0) / 4.0), "the spread is more"
    scale.add(np.zeros(10_000, np.float32))
    assert float(scale()) == pytest.approx(80.0 / 5.0)


def test_a_state_dict_carries_the_scale() -> None:
    scale, other = ReturnScale(5.0), ReturnScale(5.0)
    scale.add(np.arange(9, dtype=np.float32))
    other.load_state_dict(scale.state_dict())
    assert float(other()) == float(scale())

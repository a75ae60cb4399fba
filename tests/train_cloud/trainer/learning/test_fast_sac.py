"""FastSAC is SAC: same numbers, same file, less time; and what it cannot do it refuses."""

import io

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from torch import nn

from tests.support.runs import boxes
from train_cloud.trainer.learning.fast_sac import FastSAC
from train_cloud.trainer.learning.learners import SpacesOnly
from train_cloud.trainer.learning.replay import PackedReplayBuffer

ENV = SpacesOnly(boxes(7, 2))


def learner(kind: type[SAC], network: dict[str, list[int]] | None = None, **options: object) -> SAC:
    made = kind(
        "MlpPolicy",
        ENV,
        learning_rate=1e-3,
        buffer_size=2000,
        replay_buffer_class=PackedReplayBuffer,
        policy_kwargs={"net_arch": network or {"pi": [32, 24], "qf": [40, 16]}},
        seed=4,
        device="cpu",
        **options,  # type: ignore[arg-type]  # whatever SAC takes
    )
    made.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(8)
    assert isinstance(made.replay_buffer, PackedReplayBuffer)
    made.replay_buffer.insert(
        rng.normal(size=(1500, 7)).astype(np.float32),
        rng.uniform(-1, 1, (1500, 2)).astype(np.float32),
        rng.normal(size=1500).astype(np.float32),
        rng.normal(size=(1500, 7)).astype(np.float32),
        rng.random(1500) < 0.1,
    )
    return made


def parameters(model: SAC) -> torch.Tensor:
    assert model.log_ent_coef is not None
    state = [*model.policy.state_dict().values(), model.log_ent_coef.detach()]
    return torch.cat([tensor.flatten() for tensor in state])


@pytest.mark.slow
@pytest.mark.parametrize(
    "network", [{"pi": [32, 24], "qf": [40, 16]}, {"pi": [16], "qf": [16]}, {"pi": [16, 16, 16], "qf": [8, 8, 8]}]
)
def test_the_updates_are_those_of_stable_baselines3(network: dict[str, list[int]]) -> None:
    theirs, ours = learner(SAC, network), learner(FastSAC, network)
    assert torch.equal(parameters(theirs), parameters(ours))
    began = parameters(theirs)
    for chunk in (1, 3, 36):
        for model in (theirs, ours):
            torch.manual_seed(chunk)
            model.train(gradient_steps=chunk, batch_size=64)
        moved = (parameters(theirs) - began).abs().max()
        assert moved > 5e-4 * chunk
        assert (parameters(theirs) - parameters(ours)).abs().max() < 1e-4
    for name, value in theirs.logger.name_to_value.items():
        assert ours.logger.name_to_value[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_a_saved_model_is_exchangeable_with_plain_sac() -> None:
    ours = learner(FastSAC)
    ours.train(gradient_steps=5, batch_size=64)
    file = io.BytesIO()
    ours.save(file)
    file.seek(0)
    plain = SAC.load(
        file, env=ENV, device="cpu", custom_objects={"replay_buffer_class": PackedReplayBuffer, "buffer_size": 2000}
    )
    plain.replay_buffer = ours.replay_buffer
    plain.set_logger(Logger(folder=None, output_formats=[]))
    for model in (plain, ours):
        torch.manual_seed(5)
        model.train(gradient_steps=10, batch_size=64)
    assert (parameters(plain) - parameters(ours)).abs().max() < 1e-5


def test_loaded_parameters_are_the_ones_that_learn_on() -> None:
    source, target = learner(FastSAC), learner(FastSAC)
    source.train(gradient_steps=5, batch_size=64)
    target.train(gradient_steps=2, batch_size=64)
    file = io.BytesIO()
    source.save(file)
    file.seek(0)
    target.set_parameters(file, device="cpu")  # type: ignore[arg-type] # a file object is documented
    assert source.log_ent_coef is not None
    assert target.log_ent_coef is not None
    target.log_ent_coef.data.copy_(source.log_ent_coef.data)
    for model in (source, target):
        torch.manual_seed(6)
        model.train(gradient_steps=10, batch_size=64)
    assert torch.equal(parameters(source), parameters(target))


@pytest.mark.parametrize(("mean_scale", "spread_scale"), [(0.01, 0.01), (40.0, 1.0), (1.0, 15.0)])
def test_wide_and_saturated_actions_have_the_gradients_that_autograd_gives(
    mean_scale: float, spread_scale: float
) -> None:
    theirs, ours = learner(SAC), learner(FastSAC)
    for model in (theirs, ours):
        model.actor.get_parameter("mu.weight").data.mul_(mean_scale)
        model.actor.get_parameter("log_std.weight").data.mul_(spread_scale)
        torch.manual_seed(1)
        model.train(gradient_steps=1, batch_size=64)
    # After the first step, the mean of the gradients is a share of it.
    states = (model.actor.optimizer.state for model in (theirs, ours))
    for (name, _), wanted, found in zip(theirs.actor.named_parameters(), *(of.values() for of in states), strict=True):
        assert wanted["exp_avg"].abs().max() > 0.0
        assert (wanted["exp_avg"] - found["exp_avg"]).abs().max() < 1e-3 * wanted["exp_avg"].abs().max(), name


def test_what_it_does_not_do_is_refused() -> None:
    with pytest.raises(ValueError, match="use SAC otherwise"):
        learner(FastSAC, ent_coef=0.1)
    with pytest.raises(ValueError, match="targets follow at each update"):
        learner(FastSAC, target_update_interval=2)
    with pytest.raises(ValueError, match="ReLU between each two"):
        FastSAC(
            "MlpPolicy",
            ENV,
            replay_buffer_class=PackedReplayBuffer,
            policy_kwargs={"net_arch": [8], "activation_fn": nn.Tanh},
            buffer_size=10,
        )

"""What the PC drives with is what torch would have driven with, for every method."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import CrossQ
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Actions, Policy
from racing.task import ACTION_STEP
from tests.support.learners import off_policy_learner
from tests.support.runs import boxes, run_config
from train_cloud.trainer.learning.export import ExportError, export_policy
from train_cloud.trainer.learning.learners import SpacesOnly
from train_cloud.trainer.learning.off_policy import Algorithm
from train_cloud.trainer.learning.replay import PackedReplayBuffer

SIGNATURE = "task.v1"
TOLERANCE = 1e-3


def trained_learner(method: str, updates: int = 60) -> Algorithm:
    """A learner that has learned for a while from observations of very different spreads and offsets."""
    config = run_config(method=method, network=[64, 64], batch_size=128, buffer_size=4096, learning_rate=1e-3)
    learner = off_policy_learner(config, Environment("twelve", boxes(12, 2))).algorithm
    rng = np.random.default_rng(2)
    spread = np.geomspace(0.01, 2.0, 12)
    offset = np.linspace(-4.0, 4.0, 12)
    rows = (rng.normal(size=(4097, 12)) * spread + offset).astype(np.float32)
    actions = rng.uniform(-1, 1, (4096, 2)).astype(np.float32)
    rewards = (rows[:-1, 11] * actions[:, 0] + actions[:, 1]).astype(np.float32)
    assert isinstance(learner.replay_buffer, PackedReplayBuffer)
    learner.replay_buffer.insert(rows[:-1], actions, rewards, rows[1:], np.zeros(4096, bool))
    learner.train(gradient_steps=updates, batch_size=128)
    return learner


def observations(model: BaseAlgorithm) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    space = model.observation_space
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high, (2000, *space.shape)).astype(np.float32)


def agreement(model: BaseAlgorithm) -> float:
    rows = observations(model)
    ours = Policy.from_bytes(export_policy(model, 1, SIGNATURE, ACTION_STEP), SIGNATURE).act(rows)
    theirs, _ = model.predict(rows, deterministic=True)
    assert np.ptp(theirs, axis=0).min() > 0.1, "a policy that always does the same shows nothing"
    return float(np.abs(ours - np.clip(theirs, -1.0, 1.0 - ACTION_STEP)).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sac", "tqc", "crossq"])
def test_the_exported_policy_agrees_with_torch(method: str) -> None:
    assert agreement(trained_learner(method)) <= TOLERANCE


def test_ppo_policies_agree_as_well() -> None:
    model = PPO("MlpPolicy", SpacesOnly(boxes(12, 2)), seed=1, device="cpu", policy_kwargs={"net_arch": [64, 64]})
    with torch.no_grad():
        model.policy.get_parameter("action_net.weight").mul_(30.0)
    assert agreement(model) <= TOLERANCE


@pytest.mark.slow
def test_exploration_is_spread_as_torch_spreads_it() -> None:
    learner = trained_learner("sac")
    row = observations(learner)[:1] / 8
    policy = Policy.from_bytes(export_policy(learner, 1, SIGNATURE))
    samples = policy.act(np.repeat(row, 50_000, axis=0), np.random.default_rng(4)).astype(np.float64)
    with torch.no_grad():
        theirs, _ = learner.predict(np.repeat(row, 50_000, axis=0), deterministic=False)
    assert np.abs(samples.mean(axis=0) - theirs.mean(axis=0)).max() < 0.02
    assert np.abs(samples.std(axis=0) / theirs.std(axis=0) - 1).max() < 0.03


def test_version_and_signature_travel_with_the_policy() -> None:
    policy = Policy.from_bytes(export_policy(trained_learner("sac", updates=1), 17, SIGNATURE))
    assert (policy.version, policy.signature) == (17, SIGNATURE)


def test_a_diverged_policy_is_not_exported() -> None:
    learner = trained_learner("sac", updates=1)
    with torch.no_grad():
        learner.actor.get_parameter("mu.weight")[0, 0] = float("nan")
    with pytest.raises(ExportError, match="diverged"):
        export_policy(learner, 1, SIGNATURE)


def test_a_policy_without_counterpart_is_refused() -> None:
    model = CrossQ(
        "MlpPolicy", SpacesOnly(boxes(4, 2)), device="cpu", policy_kwargs={"net_arch": [8], "activation_fn": nn.SiLU}
    )
    with pytest.raises(ExportError, match="SiLU"):
        export_policy(model, 1, SIGNATURE)


def spaces_of(action: spaces.Space[Any]) -> SpacesOnly:
    return SpacesOnly(Spaces(boxes(12, 2).observation, SpaceSpec(action)))


def acted(
    model: BaseAlgorithm, random: np.random.Generator | None = None, count: int = 2000
) -> tuple[Actions, Actions]:
    """What the exported policy and torch do on the same observations; with `random` both explore, `count` on one."""
    rows = observations(model)
    if random is not None:
        rows = np.repeat(rows[:1] / np.float32(8.0), count, axis=0)
    sides = model.observation_space, model.action_space
    ours = Policy.from_bytes(export_policy(model, 1, SIGNATURE), SIGNATURE, sides).act(rows, random)
    theirs, _ = model.predict(rows, deterministic=random is None)
    return ours, theirs


def enlarged(model: BaseAlgorithm, name: str, factor: float) -> BaseAlgorithm:
    """With weights so large that what it does depends on what it sees."""
    with torch.no_grad():
        model.policy.get_parameter(name).mul_(factor)
    return model


def test_actions_of_any_bounds_agree_and_lie_on_no_grid() -> None:
    action = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 300.0], np.float32))
    squashed = enlarged(SAC("MlpPolicy", spaces_of(action), seed=1, device="cpu"), "actor.mu.weight", 3.0)
    ppo = PPO("MlpPolicy", spaces_of(action), seed=1, device="cpu")
    for model in (squashed, enlarged(ppo, "action_net.weight", 30.0)):
        ours, theirs = acted(model)
        assert np.ptp(theirs, axis=0).min() > 0.1
        assert np.abs((ours - np.clip(theirs, action.low, action.high)) / (action.high - action.low)).max() < 1e-3
        assert not np.array_equal(ours / ACTION_STEP, np.rint(ours / ACTION_STEP))


def test_a_categorical_policy_agrees_and_explores_as_torch_does() -> None:
    action = spaces.Discrete(4, start=-1)
    model = enlarged(PPO("MlpPolicy", spaces_of(action), seed=1, device="cpu"), "action_net.weight", 30.0)
    ours, theirs = acted(model)
    assert len(np.unique(theirs)) > 1
    # stable-baselines3 counts from 0, and leaves it to the environment's wrapper to begin elsewhere.
    assert (ours[:, 0] == theirs + action.start).mean() > 0.99
    drawn, wanted = acted(model, np.random.default_rng(1), 50_000)
    shares = [np.bincount(values, minlength=4) / len(values) for values in (drawn[:, 0] - action.start, wanted)]
    assert np.abs(shares[0] - shares[1]).max() < 0.02


def test_dqn_agrees_and_explores_at_its_rate() -> None:
    model = DQN("MlpPolicy", spaces_of(spaces.Discrete(4)), seed=1, device="cpu", buffer_size=10)
    ours, theirs = acted(model)
    assert len(np.unique(theirs)) > 1
    assert (ours[:, 0] == theirs).mean() > 0.99
    model.exploration_rate = 0.4
    drawn, _ = acted(model, np.random.default_rng(1), 50_000)
    shares = np.sort(np.bincount(drawn[:, 0], minlength=4) / len(drawn))
    assert np.abs(shares - [0.1, 0.1, 0.1, 0.7]).max() < 0.01


def test_images_and_actions_without_counterpart_are_refused() -> None:
    image = spaces.Box(0, 255, (36, 36, 3), np.uint8)
    drawn = SpacesOnly(Spaces(SpaceSpec(image), SpaceSpec(spaces.Discrete(2))))
    for policy in ("CnnPolicy", "MlpPolicy"):
        with pytest.raises(ExportError, match="serve-env"):
            export_policy(PPO(policy, drawn, device="cpu"), 1, SIGNATURE)
    with pytest.raises(ExportError, match=r"MultiDiscrete.*no counterpart"):
        export_policy(PPO("MlpPolicy", spaces_of(spaces.MultiDiscrete([2, 3])), device="cpu"), 1, SIGNATURE)

"""XQC learns a real task, within fewer steps than SAC as it is usually set."""

import gymnasium
import numpy as np
import pytest

from experience.batches import AnyArray, Float32Array
from experience.chunks import Chunk, assemble
from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec
from racing.driving import Step
from tests.support.runs import run_config
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.learners import make_learner

ID = "Pendulum-v1"
STEPS, BEGIN, TOGETHER = 2_000, 400, 20


def step_of(following: Float32Array, action: AnyArray, reward: float, truncated: bool) -> Step:
    """As a driver would tell of one environment's step."""
    return Step(
        observation=following[None],
        next_observation=following[None],
        action=action,
        reward=np.array([reward], np.float32),
        terminated=np.zeros(1, bool),
        truncated=np.array([truncated]),
        action_age=np.zeros(1, np.float32),
        off_period=False,
        laps=(),
        episodes=(),
    )


def mean_return(learner: Learner) -> float:
    """Of five episodes from fixed starts, without exploration."""
    environment, rewards = gymnasium.make(ID), []
    for start in range(5):
        seen, _ = environment.reset(seed=1_000 + start)
        for _ in range(200):
            seen, reward, *_ = environment.step(learner.act(seen[None], False)[0])
            rewards.append(float(reward))
    return sum(rewards) / 5


def taught(method: str, ratio: float) -> Learner:
    """A learner after so many steps, with so many updates for each of them."""
    pendulum = gymnasium.make(ID)
    spaces = Spaces(SpaceSpec(pendulum.observation_space), SpaceSpec(pendulum.action_space))
    chosen = {"kind": "gymnasium", "id": ID, "source": "remote"}
    sizes = {"network": [64, 64], "batch_size": 128, "buffer_size": STEPS}
    config = run_config(method=method, environment=chosen, learning_rate=1e-3, seed=2, **sizes)
    learner, (seen, _) = make_learner(config, Environment(ID, spaces)), pendulum.reset(seed=2)
    for first in range(0, STEPS, TOGETHER):
        chunk = Chunk(TOGETHER, 1, spaces.layout)
        for _ in range(TOGETHER):
            action = learner.act(seen[None], True)
            following, reward, _, truncated, _ = pendulum.step(action[0])
            chunk.add(seen[None], step_of(following, action, float(reward), truncated), 1)
            seen = pendulum.reset()[0] if truncated else following
        batch = assemble(chunk, spaces.layout, lambda _, at=first: at)  # type: ignore[misc]  # of a default
        assert batch is not None
        learner.take(batch)
        if first >= BEGIN:
            learner.update(int(ratio * TOGETHER))
    learner.check()
    return learner


@pytest.mark.slow
def test_pendulum_stands_after_steps_that_are_too_few_for_sac() -> None:
    assert mean_return(taught("sac", ratio=1.0)) < -300.0
    assert mean_return(taught("xqc", ratio=2.0)) > -250.0

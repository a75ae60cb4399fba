"""Actions of any bounds: what is applied is within them, what is learned from is between -1 and 1."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from experience.batches import Batch
from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec
from tests.support.learners import off_policy_learner, replay_of
from tests.support.runs import run_config

LOW, HIGH = np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32)
SPACES = Spaces(SpaceSpec(Box(-1.0, 1.0, (3,))), SpaceSpec(Box(LOW, HIGH)))


def batch(actions: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Batch:
    steps = len(actions)
    return Batch(
        layout=SPACES.layout,
        run_lengths=np.array([steps], np.int32),
        run_cars=np.zeros(1, np.int32),
        run_first_steps=np.zeros(1, np.int64),
        observations=np.zeros((steps + 1, 3), np.float32),
        actions=actions,
        rewards=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, np.bool_),
        truncated=np.zeros(steps, np.bool_),
        policy_versions=np.ones(steps, np.uint32),
        action_ages=np.zeros(steps, np.float32),
        off_period=np.zeros(steps, np.bool_),
    )


@pytest.mark.parametrize("method", ["sac", "tqc", "crossq"])
def test_a_learner_acts_within_the_bounds_and_learns_between_one_and_minus_one(method: str) -> None:
    learner = off_policy_learner(run_config(method=method, network=[8]), Environment("bounded", SPACES))
    actions = learner.act(np.zeros((50, 3), np.float32), explore=True)
    assert actions.shape == (50, 2)
    assert ((actions >= LOW) & (actions <= HIGH)).all()
    assert len(np.unique(actions[:, 0])) == 50
    best = learner.act(np.zeros((2, 3), np.float32), explore=False)
    assert (best[0] == best[1]).all()
    learner.take(batch(np.array([[-2.0, 0.0], [2.0, 10.0], [1.0, 2.5]], np.float32)))
    held = replay_of(learner).rows[:3, 3:5].numpy()
    assert held.tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.5, -0.5]]

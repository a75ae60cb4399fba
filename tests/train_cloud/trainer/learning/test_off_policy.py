"""What an off-policy learner makes of actions that are not -1 to 1."""

from dataclasses import replace

import numpy as np
from gymnasium.spaces import Box

from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Policy
from tests.support.batches import made_up_batch
from tests.support.learners import off_policy_learner, replay_of
from tests.support.runs import boxes, run_config


def test_actions_are_learned_from_in_minus_one_to_one_and_done_in_their_own_units() -> None:
    low, high = np.array([[-2.0, 0.0]], np.float32), np.array([[2.0, 8.0]], np.float32)
    box = Box(low, high)
    environment = Environment("wide", Spaces(boxes(3, 1).observation, SpaceSpec(box)))
    learner = off_policy_learner(run_config(network=[8], buffer_size=100), environment)
    batch = made_up_batch(1, (4,), environment.spaces.layout)
    actions = np.array([[-2.0, 0.0], [2.0, 8.0], [0.0, 4.0], [1.0, 6.0]], np.float32)
    batch = replace(batch, off_period=np.zeros(4, bool), policy_versions=np.ones(4, np.uint32))
    learner.take(replace(batch, actions=actions))
    assert replay_of(learner).newest(4)[:, 3:5].tolist() == [[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [0.5, 0.5]]
    policy = environment.policy(learner.policy(1))
    assert isinstance(policy, Policy)
    assert policy.action_step == 0.0
    done = policy.act(np.zeros((50, 3), np.float32), np.random.default_rng(1))
    assert (done >= low).all()
    assert (done <= high).all()
    assert np.ptp(done, axis=0).tolist() > [2.0, 4.0]

"""Learners of one kind, for tests that look into them."""

from typing import Any

from experience.environment import Environment
from tests.support.runs import run_config
from tests.support.toys import Collector
from train_cloud.run_config import RunConfig
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.off_policy import DqnLearner, OffPolicyLearner
from train_cloud.trainer.learning.on_policy import PpoLearner
from train_cloud.trainer.learning.replay import PackedReplayBuffer
from train_cloud.trainer.learning.xqc_learner import XqcLearner

Made = OffPolicyLearner | DqnLearner | PpoLearner | XqcLearner
REMOTE = {"kind": "gymnasium", "id": "toys/Reach-v0", "source": "remote"}
SMALL: dict[str, Any] = {
    "batch_size": 16,
    "buffer_size": 200,
    "ppo": {"rollout_steps": 64, "epochs": 2},
    "network": [8],
}
"""Settings of a learner of which a test wants no skill."""


def off_policy_learner(config: RunConfig, environment: Environment) -> OffPolicyLearner:
    """What `make_learner` makes of a config with SAC, TQC or CrossQ."""
    learner = make_learner(config, environment)
    assert isinstance(learner, OffPolicyLearner)
    return learner


def replay_of(learner: OffPolicyLearner | XqcLearner) -> PackedReplayBuffer:
    """Its replay buffer, of vectors."""
    assert isinstance(learner.replay, PackedReplayBuffer)
    return learner.replay


def xqc_learner(config: RunConfig, environment: Environment) -> XqcLearner:
    """What `make_learner` makes of a config with XQC."""
    learner = make_learner(config, environment)
    assert isinstance(learner, XqcLearner)
    return learner


def toy_learner(method: str, collector: Collector, steps: int = 2_000, **settings: Any) -> Made:
    """A learner of the collector's toy that has published version 1; quick to learn, unless `settings` say else."""
    usual: dict[str, Any] = {
        "environment": REMOTE,
        "network": [32, 32],
        "batch_size": 64,
        "buffer_size": 5_000,
        "learning_rate": 3e-3 if method == "ppo" else 1e-3,
        "gamma": 0.9,
        "total_timesteps": steps,
        "ppo": {"rollout_steps": 256},
        "dqn": {"target_update_interval": 100, "exploration_fraction": 0.5},
    }
    made = make_learner(run_config(method=method, **usual | settings), collector.toys[0].environment)
    made.policy(1)
    return made

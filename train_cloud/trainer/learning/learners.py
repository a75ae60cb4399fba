"""Builds the learner that a run asks for: stable-baselines3's SAC, or sb3-contrib's TQC or CrossQ.

The algorithm never steps an environment: it is constructed over the spaces alone, and the learner around it fills its
replay buffer and calls `train`. It promises the algorithms of the libraries, unchanged (SAC's by `FastSAC`, which
makes the same updates in less time).
"""

from typing import Any

import gymnasium
import torch
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from experience.environment import Environment
from experience.spaces import Spaces
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.trainer.learning.fast_sac import FastSAC
from train_cloud.trainer.learning.off_policy import Algorithm, OffPolicyLearner
from train_cloud.trainer.learning.replay import PackedReplayBuffer

METHODS: dict[str, type[SAC] | type[TQC] | type[CrossQ]] = {"sac": FastSAC, "tqc": TQC, "crossq": CrossQ}


class SpacesOnly(gymnasium.Env[Any, Any]):
    """Spaces and no environment: what stable-baselines3 needs to build networks."""

    def __init__(self, spaces: Spaces) -> None:
        self.observation_space, self.action_space = spaces.observation.space, spaces.action.space


def check_device(name: str) -> None:
    """Raise ConfigError when run.json names a GPU that is not there: the libraries would quietly use the CPU."""
    if not name.startswith("cuda"):
        return
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(name.partition(":")[2] or 0) >= present:
        raise ConfigError(
            f"The field `device` has the value {name!r}, but this machine has {present} GPUs that can be used. Install "
            'the GPU\'s driver and a PyTorch built for it, or set `device` to "auto" or "cpu".'
        )


def make_learner(config: RunConfig, environment: Environment) -> OffPolicyLearner:
    """A freshly initialised learner for `config`, which has seen nothing yet.

    Raises ConfigError when the device is not there, or the method cannot act in such an environment.
    """
    algorithm, step = make_algorithm(config, environment.spaces), environment.spaces.action.step
    return OffPolicyLearner(algorithm, config.batch_size, environment.signature, step)


def make_algorithm(config: RunConfig, spaces: Spaces) -> Algorithm:
    """The freshly initialised algorithm of `config`, with an empty PackedReplayBuffer and a silent logger.

    Raises ConfigError when the device is not there, or the method cannot act in such an environment.
    """
    if not isinstance(spaces.action.space, gymnasium.spaces.Box):
        raise ConfigError(
            f"The field `method` has the value {config.method!r}, which needs continuous actions (a Box), but the "
            f"environment's are {spaces.action.space}. Wrap the environment, or choose a method for such actions."
        )
    check_device(config.device)
    crossq = config.method == "crossq"
    # Naming any option replaces CrossQ's own default betas, so they are named too.
    optimizer = {"fused": True} | ({"betas": (0.5, 0.999)} if crossq else {})
    options: dict[str, Any] = {} if crossq else {"tau": config.tau}
    algorithm = METHODS[config.method](
        "MlpPolicy",
        SpacesOnly(spaces),
        learning_rate=config.learning_rate,
        buffer_size=config.buffer_size,
        batch_size=config.batch_size,
        gamma=config.gamma,
        replay_buffer_class=PackedReplayBuffer,
        policy_kwargs={
            "net_arch": {"pi": config.network, "qf": config.critic_network or config.network},
            "optimizer_kwargs": optimizer,
        },
        ent_coef=f"auto_{config.initial_entropy_coefficient!r}",
        target_entropy=config.target_entropy,
        seed=config.seed,
        device=config.device,
        **options,
    )
    algorithm.set_logger(Logger(folder=None, output_formats=[]))
    return algorithm

"""Builds the learner that a run asks for: stable-baselines3's SAC, DQN or PPO, sb3-contrib's TQC or CrossQ, or XQC.

No algorithm ever steps an environment: it is constructed over the spaces alone, and the learner around it gives it
experience and calls `train`. It promises the algorithms of the libraries, unchanged (SAC's over vectors by `FastSAC`,
which makes the same updates in less time).
"""

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import gymnasium
import torch
from gymnasium.spaces import Box, Discrete
from sb3_contrib import TQC, CrossQ
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from experience.environment import RACING, Environment
from experience.spaces import Spaces, SpacesError, leaf_bytes, leaves
from racing.task import MIRRORED
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.trainer.learning.average import Average
from train_cloud.trainer.learning.fast_sac import FastSAC
from train_cloud.trainer.learning.off_policy import Algorithm, DqnLearner, OffPolicyLearner
from train_cloud.trainer.learning.on_policy import PpoLearner
from train_cloud.trainer.learning.replay import PackedReplayBuffer
from train_cloud.trainer.learning.views import View, local_weights_can_act
from train_cloud.trainer.learning.xqc_learner import XqcLearner

REPLAY_SHARE: Final = 0.75
"""Of a machine's memory a replay buffer takes at most this much: learning and the store need the rest."""
CONTINUOUS: Final[dict[str, type[SAC] | type[TQC] | type[CrossQ]]] = {"sac": SAC, "tqc": TQC, "crossq": CrossQ}

AnyLearner = OffPolicyLearner | DqnLearner | PpoLearner | XqcLearner
_Made = TypeVar("_Made", bound=BaseAlgorithm)


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


def make_learner(config: RunConfig, environment: Environment) -> AnyLearner:
    """A freshly initialised learner for `config`, which has seen nothing yet.

    Raises ConfigError when the device is not there, the method cannot act in such an environment, the replay buffer
    takes more memory than there is, or bridges are to act where their weights cannot.
    """
    check_device(config.device)
    try:
        view, signature = View(environment.spaces), environment.signature
    except SpacesError as error:
        raise ConfigError(str(error)) from None
    learner = _learner(config, view, signature)
    if learner.demonstrations is not None:
        assert isinstance(learner.replay, PackedReplayBuffer)
        learner.replay.share_beside = config.demonstration_share
    if isinstance(learner, OffPolicyLearner | XqcLearner):
        _add_extras(learner, config, environment)
    if config.environment.source == "bridge":
        _check_bridges_can_act(environment, view)
    return learner


def _learner(config: RunConfig, view: View, signature: str) -> AnyLearner:
    if config.method == "ppo":
        return PpoLearner(_ppo(config, view), view, signature, config.total_timesteps)
    if config.method == "dqn":
        return DqnLearner(_dqn(config, view), view, config.batch_size, signature, config.total_timesteps, config.n_step)
    if config.method == "xqc":
        return _xqc(config, view, signature)
    return OffPolicyLearner(_continuous(config, view), view, config.batch_size, signature, config.n_step)


def _add_extras(learner: OffPolicyLearner | XqcLearner, config: RunConfig, environment: Environment) -> None:
    """What a run asks for beside the algorithm; what only racing has is passed over elsewhere."""
    if config.mirrored and environment.name == RACING and isinstance(learner.replay, PackedReplayBuffer):
        learner.replay.mirror(*MIRRORED, config.mirrored)
    learner.cloning = config.behaviour_cloning_updates
    learner.demonstration_updates = config.updates_with_demonstrations
    learner.exploration_correlation = config.exploration_correlation
    if config.policy_average > 1:
        if isinstance(learner, XqcLearner):
            learner.average = Average(learner.networks.actor, config.policy_average)
        else:
            learner.average = Average(learner.algorithm.actor, config.policy_average)


def _check_bridges_can_act(environment: Environment, view: View) -> None:
    if not local_weights_can_act(view):
        sides = environment.spaces.observation, environment.spaces.action
        observation, action = (str(side.space)[:200] for side in sides)
        raise ConfigError(
            f'The field `environment.source` has the value "bridge", but observations of {observation} and actions of '
            f"{action} need networks that a PC does not run: it acts by itself on one row of numbers, in a Box or a "
            'Discrete. Set `environment.source` to "remote", and serve the environment by `ac-bridge serve-env`.'
        )


def _continuous(config: RunConfig, view: View) -> Algorithm:
    _check_actions(config, view, Box, "continuous actions (a Box)")
    crossq = config.method == "crossq"
    if crossq and view.policy != "MlpPolicy":
        raise ConfigError(
            'The field `method` has the value "crossq", which has no networks for images or dictionaries of '
            'observations. Take "sac", "tqc" or "ppo".'
        )
    # Naming any option replaces CrossQ's own default betas, so they are named too.
    optimizer = {"fused": True} | ({"betas": (0.5, 0.999)} if crossq else {})
    options: dict[str, Any] = {} if crossq else {"tau": config.tau}
    fast = config.method == "sac" and view.policy == "MlpPolicy" and isinstance(view.spaces.observation.space, Box)
    kind: Callable[..., Algorithm] = CONTINUOUS[config.method]
    if fast:
        kind = partial(FastSAC, precision=config.precision)
    return _made(
        kind,
        *(config, view, {"pi": config.network, "qf": config.critic_network or config.network}, optimizer),
        ent_coef=f"auto_{config.initial_entropy_coefficient!r}",
        target_entropy=config.target_entropy,
        **options | _replay(config, view),
    )


def _xqc(config: RunConfig, view: View, signature: str) -> XqcLearner:
    _check_actions(config, view, Box, "continuous actions (a Box)")
    if not view.is_plain:
        raise ConfigError(
            'The field `method` has the value "xqc", which learns from one row of numbers (a Box), not from images, '
            'choices or dictionaries. Take "sac", "tqc" or "ppo".'
        )
    _replay(config, view)
    return XqcLearner(config, view, signature)


def _dqn(config: RunConfig, view: View) -> DQN:
    _check_actions(config, view, Discrete, "one choice of several (a Discrete)")
    return _made(
        DQN,
        *(config, view, config.network, {"fused": True}),
        target_update_interval=config.dqn.target_update_interval,
        exploration_fraction=config.dqn.exploration_fraction,
        exploration_final_eps=config.dqn.final_epsilon,
        **_replay(config, view),
    )


def _ppo(config: RunConfig, view: View) -> PPO:
    return _made(
        PPO,
        # Naming any option replaces PPO's own default epsilon.
        *(config, view, {"pi": config.network, "vf": config.critic_network or config.network}),
        {"fused": True, "eps": 1e-5},
        n_steps=config.ppo.rollout_steps,
        n_epochs=config.ppo.epochs,
        gae_lambda=config.ppo.gae_lambda,
        clip_range=config.ppo.clip_range,
        ent_coef=config.ppo.entropy_coefficient,
    )


def _made(
    kind: Callable[..., _Made], config: RunConfig, view: View, network: Any, optimizer: dict[str, Any], **options: Any
) -> _Made:
    algorithm = kind(
        view.policy,
        SpacesOnly(view.spaces),
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        gamma=config.discount,
        policy_kwargs={"net_arch": network, "optimizer_kwargs": optimizer},
        seed=config.seed,
        device=config.device,
        **options,
    )
    algorithm.set_logger(Logger(folder=None, output_formats=[]))
    return algorithm


def _check_actions(config: RunConfig, view: View, wanted: type[gymnasium.Space[Any]], needs: str) -> None:
    action = view.spaces.action.space
    if not isinstance(action, wanted):
        raise ConfigError(
            f"The field `method` has the value {config.method!r}, which needs {needs}, but the environment's are "
            f"{action}. Wrap the environment, or choose a method for such actions."
        )


def _replay(config: RunConfig, view: View) -> dict[str, Any]:
    """The replay buffer's options; ConfigError when it takes more memory than there is."""
    packed = view.policy == "MlpPolicy"
    parts = leaves(view.spaces.observation.space)
    row = 2 * sum(leaf_bytes(leaf) if not packed else 4 * math.prod(leaf.shape or (1,)) for leaf in parts)
    row += 4 * math.prod(view.spaces.action.space.shape or (1,))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if config.buffer_size * row > REPLAY_SHARE * memory:
        most = int(REPLAY_SHARE * memory / row)
        raise ConfigError(
            f"The field `buffer_size` has the value {config.buffer_size}: so many transitions of this environment take "
            f"{config.buffer_size * row / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB of memory. Here the "
            f"replay buffer can hold at most {most}, which leave a quarter to the rest."
        )
    return {"buffer_size": config.buffer_size} | ({"replay_buffer_class": PackedReplayBuffer} if packed else {})

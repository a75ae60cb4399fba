"""Turns a torch policy into the safetensors file that `racing.policy` runs without torch.

Covers the actors of SAC, TQC and CrossQ, PPO's ActorCriticPolicy over Box and Discrete actions, and DQN's values, all
of observations that are one row of numbers. Batch normalisation is folded into the linear layer that follows it, so
that the PC multiplies nothing in vain. Matrices are float16, vectors float32.
"""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from safetensors.numpy import save
from safetensors.torch import save as save_tensors
from sb3_contrib.common.torch_layers import BatchRenorm
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

from racing.policy import (
    CATEGORICAL,
    EPSILON_GREEDY,
    GAUSSIAN_CLIPPED,
    POLICY_FORMAT,
    SQUASHED_GAUSSIAN,
    Policy,
    PolicyError,
)

Float64Array = npt.NDArray[np.float64]

STATE_FORMAT = "ac-training.torch.v1"
_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.ELU: "elu"}


class ExportError(Exception):
    """The policy cannot be expressed in the file's format, or its weights are no longer finite."""


def export_policy(
    model: BaseAlgorithm,
    version: int,
    signature: str,
    action_step: float | None = None,
    averaged: nn.Module | None = None,
) -> bytes:
    """The policy of `model` as a file for `racing.policy.Policy.from_bytes`; `version` rises over the run.

    `model` is SAC, TQC, CrossQ, DQN (which explores at its `exploration_rate`), or any algorithm with an
    ActorCriticPolicy; the driver compares the task's `signature` with its own, and `action_step` is the actions' grid,
    None for none. `averaged` takes the place of an actor's own weights. Raises ExportError when a layer has no
    counterpart in the format, a weight is not finite in float16, or no bridge would take the policy.
    """
    modules, extra, distribution = _parts(model, averaged)
    layers, tensors = _fold(modules)
    tensors |= extra
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise _diverged(name)
    sizes = [str(spaces.flatdim(space)) for space in (model.observation_space, model.action_space)]
    metadata = {
        "format": POLICY_FORMAT,
        "version": str(version),
        "signature": signature,
        "observation_size": sizes[0],
        "action_size": sizes[1],
        "action_step": repr(action_step or 0.0),
        "layers": json.dumps(layers),
    }
    metadata |= distribution
    blob = save(tensors, metadata)
    try:
        Policy.from_bytes(blob, signature, (model.observation_space, model.action_space))
    except PolicyError as error:
        raise ExportError(f"No bridge could drive by the policy of now. {error}") from error
    return blob


def export_state(model: BaseAlgorithm, version: int, signature: str) -> bytes:
    """All tensors of the library's policy as a safetensors file, where `export_policy` has no place for them.

    Its metadata name the format (STATE_FORMAT), version, signature, method and policy class; a tensor that a module
    shares with another is there once, and `same` (JSON) names the one that it is. Raises ExportError when a number is
    not finite.
    """
    tensors: dict[str, torch.Tensor] = {}
    same: dict[str, str] = {}
    held: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in model.policy.state_dict().items():
        first = held.setdefault((tensor.data_ptr(), tensor.shape), name)
        if first != name and tensor.numel():
            same[name] = first
            continue
        if not torch.isfinite(tensor).all():
            raise _diverged(name)
        tensors[name] = tensor.detach().cpu().contiguous().clone()
    metadata = {
        "format": STATE_FORMAT,
        "version": str(version),
        "signature": signature,
        "method": type(model).__name__,
        "policy": type(model.policy).__name__,
        "same": json.dumps(same),
    }
    return save_tensors(tensors, metadata)


def _diverged(name: str) -> ExportError:
    return ExportError(
        f"The policy's tensor {name} is not finite: training has diverged. Lower the learning rate; the last "
        "checkpoint is still good."
    )


def _parts(
    model: BaseAlgorithm, averaged: nn.Module | None
) -> tuple[list[nn.Module], dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The policy's modules in order (the two heads of a squashed Gaussian as one), other tensors, distribution."""
    policy = model.policy
    critic_acts = isinstance(policy, DQNPolicy)
    actor: Any = policy.q_net if critic_acts else policy if isinstance(policy, ActorCriticPolicy) else policy.actor
    actor = averaged or actor
    if type(actor.features_extractor) is not FlattenExtractor or is_image_space(model.observation_space):
        raise ExportError(
            f"A policy on the PC takes one row of numbers, not {str(model.observation_space)[:200]} through a "
            f"{type(actor.features_extractor).__name__}. Let the cloud step this environment (`ac-bridge serve-env`)."
        )
    if critic_acts:
        chance: Any = model
        return [*actor.q_net], {}, {"distribution": EPSILON_GREEDY, "epsilon": repr(float(chance.exploration_rate))}
    if actor.use_sde:
        raise ExportError("A policy with state-dependent exploration (use_sde) has no counterpart here.")
    if isinstance(policy, ActorCriticPolicy):
        modules = [*policy.mlp_extractor.policy_net, policy.action_net]
        if isinstance(policy.action_dist, CategoricalDistribution):
            return modules, {}, {"distribution": CATEGORICAL}
        if not isinstance(policy.action_dist, DiagGaussianDistribution):
            raise ExportError(f"Actions of {str(model.action_space)[:200]} have no counterpart in the policy format.")
        log_std = {"log_std": _numpy(policy.log_std).astype(np.float32)}
        return modules, log_std, {"distribution": GAUSSIAN_CLIPPED}
    heads = nn.Linear(actor.mu.in_features, 2 * actor.mu.out_features, device="meta").to_empty(device=model.device)
    with torch.no_grad():
        heads.weight.copy_(torch.cat([actor.mu.weight, actor.log_std.weight]))
        heads.bias.copy_(torch.cat([actor.mu.bias, actor.log_std.bias]))
    return [*actor.latent_pi, heads], {}, {"distribution": SQUASHED_GAUSSIAN}


def _fold(modules: Iterable[nn.Module]) -> tuple[list[dict[str, str]], dict[str, npt.NDArray[Any]]]:
    """The declared layers and their tensors, each batch normalisation folded into the linear layer after it.

    A normalisation is gain * (x - mean) + offset. The mean's share goes into the bias through the already
    rounded matrix: a channel that varies little around a large mean would otherwise lose its digits.
    """
    layers: list[dict[str, str]] = []
    tensors: dict[str, npt.NDArray[Any]] = {}
    normalisation: tuple[Float64Array, Float64Array, Float64Array] | None = None
    for module in modules:
        name = str(len(layers))
        if isinstance(module, BatchRenorm) and normalisation is None:
            gain = _numpy(module.scale) / np.sqrt(_numpy(module.ra_var) + module.eps)
            normalisation = gain, _numpy(module.ra_mean), _numpy(module.bias)
        elif isinstance(module, nn.Linear):
            weight, bias = _numpy(module.weight), _numpy(module.bias)
            gain, mean, offset = normalisation or (np.ones(1), np.zeros(weight.shape[1]), np.zeros(weight.shape[1]))
            with np.errstate(over="ignore"):  # an overflow is told by export_policy, as not finite
                rounded = (weight * gain).astype(np.float16)
            tensors[f"{name}.weight"] = rounded
            tensors[f"{name}.bias"] = (bias + weight @ offset - rounded.astype(np.float64) @ mean).astype(np.float32)
            layers.append({"op": "linear", "weight": f"{name}.weight", "bias": f"{name}.bias"})
            normalisation = None
        elif type(module) in _ACTIVATIONS and normalisation is None:
            layers.append({"op": _ACTIVATIONS[type(module)]})
        else:
            raise ExportError(f"The layer {module} has no counterpart in the policy format.")
    return layers, tensors


def _numpy(tensor: torch.Tensor | nn.Module) -> Float64Array:
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach().cpu().numpy().astype(np.float64)

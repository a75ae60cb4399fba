"""Turns a torch policy into the safetensors file that `racing.policy` runs without torch.

Covers the actors of SAC, TQC, CrossQ and XQC, PPO's ActorCriticPolicy over Box and Discrete actions, and DQN's values,
all of observations that are one row of numbers. Batch normalisation is folded into a linear layer beside it, so that
the PC multiplies nothing in vain. Matrices are float16, vectors float32.
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

from racing.policy import Policy
from racing.policy_file import (
    CATEGORICAL,
    CORRELATION,
    EPSILON_GREEDY,
    GAUSSIAN_CLIPPED,
    POLICY_FORMAT,
    SQUASHED_GAUSSIAN,
    PolicyError,
)

Float64Array = npt.NDArray[np.float64]
_Normalisation = tuple[Float64Array, Float64Array, Float64Array]
"""gain, mean and offset, each one number a channel."""

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
    correlation: float = 0.0,
) -> bytes:
    """The policy of `model` as a file for `racing.policy.Policy.from_bytes`; `version` rises over the run.

    `model` is SAC, TQC, CrossQ, DQN (which explores at its `exploration_rate`), or any algorithm with an
    ActorCriticPolicy; the driver compares the task's `signature` with its own, and `action_step` is the actions' grid,
    None for none. `averaged` takes the place of an actor's own weights; `correlation` is that of a bridge's noise with
    the noise of the step before. Raises ExportError when a layer has no counterpart in the format, a weight is not
    finite in float16, or no bridge would take the policy.
    """
    modules, extra, distribution = _parts(model, averaged)
    if correlation:
        distribution |= {CORRELATION: repr(correlation)}
    sides = model.observation_space, model.action_space
    return policy_file(modules, distribution, sides, version, signature, action_step, extra)


def policy_file(
    modules: Iterable[nn.Module],
    distribution: dict[str, str],
    sides: tuple[spaces.Space[Any], spaces.Space[Any]],
    version: int,
    signature: str,
    action_step: float | None,
    extra: dict[str, npt.NDArray[Any]] | None = None,
) -> bytes:
    """The file of a policy that is made of `modules` in order, over the spaces `sides` (observations, actions).

    `distribution` is the file's metadata on how the last layer's output is acted by, `extra` what tensors that needs.
    Raises ExportError as `export_policy` does.
    """
    layers, tensors = _fold(modules)
    tensors |= extra or {}
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise _diverged(name)
    sizes = [str(spaces.flatdim(space)) for space in sides]
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
        Policy.from_bytes(blob, signature, sides)
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


class _Folded:
    """A linear layer that takes normalisations in: weight @ (x - mean) + bias.

    The mean's share goes into the bias through the already rounded matrix: a channel that varies little around a large
    mean would otherwise lose its digits.
    """

    def __init__(self, linear: nn.Linear, before: _Normalisation | None) -> None:
        self.weight, outputs = _numpy(linear.weight), linear.out_features
        self.bias = np.zeros(outputs) if linear.bias is None else _numpy(linear.bias)
        self._mean = np.zeros(linear.in_features)
        if before is not None:
            gain, self._mean, offset = before
            self.bias = self.bias + self.weight @ offset
            self.weight = self.weight * gain

    def follow(self, after: _Normalisation) -> None:
        """Take in the normalisation of what the layer gives."""
        gain, mean, offset = after
        self.weight = self.weight * gain[:, None]
        self.bias = gain * (self.bias - mean) + offset

    def rounded(self) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """The matrix and the bias as the file holds them."""
        with np.errstate(over="ignore"):  # an overflow is told by policy_file, as not finite
            weight = self.weight.astype(np.float16)
        return weight, (self.bias - weight.astype(np.float64) @ self._mean).astype(np.float32)


def _fold(modules: Iterable[nn.Module]) -> tuple[list[dict[str, str]], dict[str, npt.NDArray[Any]]]:
    """The declared layers and their tensors, each batch normalisation folded into a linear layer.

    That is the one right before it, else the one after.
    """
    folded: list[_Folded | str] = []
    waiting: _Normalisation | None = None
    for module in modules:
        last = folded[-1] if folded else None
        if isinstance(module, (BatchRenorm, nn.BatchNorm1d)) and waiting is None:
            if isinstance(last, _Folded):
                last.follow(_normalisation(module))
            else:
                waiting = _normalisation(module)
        elif isinstance(module, nn.Linear):
            folded.append(_Folded(module, waiting))
            waiting = None
        elif type(module) in _ACTIVATIONS and waiting is None:
            folded.append(_ACTIVATIONS[type(module)])
        else:
            raise ExportError(f"The layer {module} has no counterpart in the policy format.")
    layers: list[dict[str, str]] = []
    tensors: dict[str, npt.NDArray[Any]] = {}
    for number, layer in enumerate(folded):
        if isinstance(layer, str):
            layers.append({"op": layer})
        else:
            weight, bias = f"{number}.weight", f"{number}.bias"
            tensors[weight], tensors[bias] = layer.rounded()
            layers.append({"op": "linear", "weight": weight, "bias": bias})
    return layers, tensors


def _normalisation(module: BatchRenorm | nn.BatchNorm1d) -> _Normalisation:
    """What it does to batches where a policy acts: gain * (x - mean) + offset."""
    ours = isinstance(module, nn.BatchNorm1d)
    names = ("weight", "running_mean", "running_var") if ours else ("scale", "ra_mean", "ra_var")
    scale, mean, variance = (_numpy(getattr(module, name)) for name in names)
    return scale / np.sqrt(variance + module.eps), mean, _numpy(module.bias)


def _numpy(tensor: torch.Tensor | nn.Module) -> Float64Array:
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach().cpu().numpy().astype(np.float64)

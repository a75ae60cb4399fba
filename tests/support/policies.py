"""Small random policies as files, for tests that need something to drive with."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from racing.policy_file import POLICY_FORMAT, SQUASHED_GAUSSIAN
from racing.task import ACTION_SIZE, ACTION_STEP, CHANNELS, OBSERVATION_SIZE
from wire.messages import WeightsUpdate


def policy_file(
    signature: str, version: int, observation_size: int = OBSERVATION_SIZE, action_size: int = ACTION_SIZE
) -> bytes:
    """A squashed Gaussian of one linear layer, different for each version."""
    rng = np.random.default_rng(version)
    tensors: dict[str, npt.NDArray[Any]] = {
        "weight": rng.normal(0.0, 0.1, (2 * action_size, observation_size)).astype(np.float16),
        "bias": np.full(2 * action_size, -0.5, np.float32),
    }
    layers = [{"op": "linear", "weight": "weight", "bias": "bias"}]
    return save(tensors, _metadata(signature, version, observation_size, action_size) | {"layers": json.dumps(layers)})


def weights_update(signature: str, version: int) -> WeightsUpdate:
    """The same as the message that brings it to a bridge."""
    return as_update(policy_file(signature, version), version)


def following_policy(signature: str, version: int, hidden: int = 256) -> bytes:
    """A policy as large as a learned one that follows the road at about 15 m/s.

    Two hidden layers carry two signals, split into their positive and negative parts, beside numbers that nobody reads.
    """
    rng = np.random.default_rng(version)
    names = [channel.name for channel in CHANNELS]
    wish = np.zeros((2, OBSERVATION_SIZE))
    wish[0, names.index("gap")], wish[0, names.index("heading_error")] = -0.15, -0.5
    wish[0, names.index("curvature_0_6m")] = wish[0, names.index("curvature_6_13m")] = 0.12
    wish[1, names.index("speed_forward")] = -2.7
    first = rng.normal(0.0, 0.1, (hidden, OBSERVATION_SIZE))
    first[:4] = np.vstack([wish, -wish])
    second = rng.normal(0.0, 0.1, (hidden, hidden))
    second[:4] = np.eye(4, hidden)
    last = np.zeros((4, hidden))
    last[:2, :4] = np.hstack([np.eye(2), -np.eye(2)])
    tensors: dict[str, npt.NDArray[Any]] = {}
    for name, weight in (("a", first), ("b", second), ("c", last)):
        tensors[f"{name}.weight"] = weight.astype(np.float16)
        tensors[f"{name}.bias"] = np.zeros(len(weight), np.float32)
    tensors["c.bias"][:] = [0.0, 1.0, -4.0, -4.0]
    layers: list[dict[str, str]] = []
    for name in "abc":
        layers += [{"op": "linear", "weight": f"{name}.weight", "bias": f"{name}.bias"}, {"op": "relu"}]
    metadata = _metadata(signature, version, OBSERVATION_SIZE, ACTION_SIZE)
    return save(tensors, metadata | {"layers": json.dumps(layers[:-1])})


def as_update(blob: bytes, version: int) -> WeightsUpdate:
    """A policy file as the message that brings it to a bridge."""
    return WeightsUpdate(version, hashlib.sha256(blob).hexdigest(), blob)


def _metadata(signature: str, version: int, observation_size: int, action_size: int) -> dict[str, str]:
    return {
        "format": POLICY_FORMAT,
        "version": str(version),
        "signature": signature,
        "observation_size": str(observation_size),
        "action_size": str(action_size),
        "action_step": repr(ACTION_STEP),
        "distribution": SQUASHED_GAUSSIAN,
    }

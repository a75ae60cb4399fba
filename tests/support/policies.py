"""Small random policies as files, for tests that need something to drive with."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from racing.policy import POLICY_FORMAT, SQUASHED_GAUSSIAN
from racing.task import ACTION_SIZE, ACTION_STEP, OBSERVATION_SIZE
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
    metadata = {
        "format": POLICY_FORMAT,
        "version": str(version),
        "signature": signature,
        "observation_size": str(observation_size),
        "action_size": str(action_size),
        "action_step": repr(ACTION_STEP),
        "distribution": SQUASHED_GAUSSIAN,
        "layers": json.dumps([{"op": "linear", "weight": "weight", "bias": "bias"}]),
    }
    return save(tensors, metadata)


def weights_update(signature: str, version: int) -> WeightsUpdate:
    """The same as the message that brings it to a bridge."""
    blob = policy_file(signature, version)
    return WeightsUpdate(version, hashlib.sha256(blob).hexdigest(), blob)

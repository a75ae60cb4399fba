"""Run configurations for tests: small, valid, and changed by keyword."""

import msgspec
import numpy as np
from gymnasium.spaces import Box

from experience.spaces import Spaces, SpaceSpec
from train_cloud.run_config import RunConfig


def run_config(**changes: object) -> RunConfig:
    """A RunConfig for one CPU thread and without a report at its end, checked like a run.json; `changes` applied."""
    settings: dict[str, object] = {
        "run_id": "test-run",
        "bucket": {"name": "test-bucket", "endpoint_url": "http://127.0.0.1:1"},
        "device": "cpu",
        "trainer_threads": 1,
        "final_report": False,
    }
    return msgspec.convert(settings | changes, RunConfig)


def boxes(observation_size: int, action_size: int) -> Spaces:
    """Spaces of an environment with so many numbers."""
    low, high = np.full(observation_size, -8.0, np.float32), np.full(observation_size, 8.0, np.float32)
    return Spaces(SpaceSpec(Box(low, high)), SpaceSpec(Box(-1.0, 1.0, (action_size,))))

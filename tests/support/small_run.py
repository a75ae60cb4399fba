"""A run that learns next to nothing and saves often, for tests of what surrounds the learning."""

from typing import Any, Final

SMALL_RUN: Final[dict[str, Any]] = {
    "run_id": "garage",
    "network": [16, 16],
    "batch_size": 32,
    "learning_starts": 100,
    "updates_per_step": 0.2,
    "save_frequency": 400,
    "gradient_chunk": 8,
    "device": "cpu",
    "trainer_threads": 1,
    "segment_seconds": 0.5,
    "max_lead_steps": 400,
}
"""Of run.json, without its bucket."""

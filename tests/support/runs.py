"""Run configurations for tests: small, valid, and changed by keyword."""

import msgspec

from train_cloud.run_config import RunConfig


def run_config(**changes: object) -> RunConfig:
    """A RunConfig for one CPU thread, checked like a run.json, with `changes` applied."""
    settings: dict[str, object] = {
        "run_id": "test-run",
        "bucket": {"name": "test-bucket", "endpoint_url": "http://127.0.0.1:1"},
        "device": "cpu",
        "trainer_threads": 1,
    }
    return msgspec.convert(settings | changes, RunConfig)

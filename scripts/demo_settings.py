"""What the demo trains: a run.json small enough that two cores without a GPU teach a car to lap within minutes."""

from __future__ import annotations

from train_cloud.run_config import BucketConfig, RunConfig

TRACK = "seed:7:1200"
CARS = 8
MINUTES = 8.0


def demo_run(endpoint_url: str) -> RunConfig:
    """The run's configuration; it is the demo that ends the run, long before `total_timesteps`."""
    return RunConfig(
        run_id="demo",
        bucket=BucketConfig(name="ac-training-demo", endpoint_url=endpoint_url),
        total_timesteps=10_000_000,
        listen_host="127.0.0.1",
        listen_port=0,
    )

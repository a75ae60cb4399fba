"""What the demo trains: a run.json small enough that two cores without a GPU teach a car to lap within minutes."""

from train_cloud.run_config import BucketConfig, RunConfig

TRACK = "seed:7:1200"
CARS = 16
MINUTES = 8.0


def demo_run(bucket: BucketConfig) -> RunConfig:
    """The configuration of a run in `bucket`; it is the demo that ends it, long before `total_timesteps`."""
    return RunConfig(
        run_id="demo",
        bucket=bucket,
        total_timesteps=10_000_000,
        save_frequency=20_000,
        # The rest is racing's own, also the fastest for sixteen cars on two shared cores: docs/performance.md.
        learning_starts=1_000,
        buffer_size=500_000,
        max_lead_steps=2_000,
        publish_seconds=1.0,
        trainer_threads=1,
        listen_host="127.0.0.1",
        listen_port=0,
    )

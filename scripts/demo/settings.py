"""What the demo trains: a run.json small enough that two cores without a GPU teach a car to lap within minutes."""

from train_cloud.run_config import BucketConfig, RunConfig

TRACK = "seed:7:1200"
CARS = 16
BUCKET = "ac-training-demo"
MINUTES = 8.0


def demo_run(endpoint_url: str) -> RunConfig:
    """The run's configuration; it is the demo that ends the run, long before `total_timesteps`."""
    return RunConfig(
        run_id="demo",
        bucket=BucketConfig(name=BUCKET, endpoint_url=endpoint_url),
        total_timesteps=10_000_000,
        save_frequency=20_000,
        # Found by measuring on two shared cores: small networks and half an update a step (which keeps the data
        # fresh) learn to lap in the fewest seconds.
        network=[128, 128],
        learning_rate=7e-4,
        batch_size=256,
        n_step=1,
        mirrored=0.0,
        policy_average=1,
        initial_entropy_coefficient=0.1,
        updates_per_step=0.5,
        learning_starts=3_000,
        buffer_size=500_000,
        max_lead_steps=2_000,
        publish_seconds=1.0,
        trainer_threads=1,
        listen_host="127.0.0.1",
        listen_port=0,
    )

"""Pendulum is learned through `drive --env`: real receiver, trainer and bridge, both of which are killed on the way."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest

from bridge.driving.environments import driven_environment
from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, TRAINER, Site
from tests.support.skill import mean_return
from tests.support.waiting import wait_until
from train_cloud.run_folder.keys import POLICY
from train_cloud.trainer.saving.manifest import find_newest

__all__ = ["s3"]

NAME = "Pendulum-v1"
STEPS = 10_000


@pytest.mark.slow
def test_pendulum_is_learned_although_bridge_and_trainer_are_killed(tmp_path: Path, s3: MotoS3) -> None:
    settings: dict[str, Any] = {
        "environment": {"kind": "gymnasium", "id": NAME},
        "network": [64, 64],
        "batch_size": 64,
        "learning_rate": 1e-3,
        "gamma": 0.95,
        "learning_starts": 300,
        "updates_per_step": 1.0,
        "max_lead_steps": 500,
        "save_frequency": 1_000,
        "total_timesteps": STEPS,
    }
    with Site(tmp_path / "pendulum", s3, **settings) as site:

        def start_bridge() -> None:
            site.start(BRIDGE, "bridge", "drive", "--env", NAME, "--spool", site.spool)

        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        start_bridge()
        wait_until(lambda: site.consumed_steps() > 2_500, "it learns", 120.0)
        site.kill(BRIDGE)
        start_bridge()
        wait_until(lambda: site.consumed_steps() > 4_500, "it learns on", 120.0)
        site.kill(TRAINER)
        site.start_trainer()
        assert site.wait_for_end(BRIDGE, 240.0) == ExitCode.OK
        assert site.wait_for_end(TRAINER, 60.0) == ExitCode.OK
        found = find_newest(site.objects).checkpoint
        assert found is not None
        counters = site.checkpoint_counters()
    assert counters.steps >= STEPS
    assert counters.resumes == 1
    environment = driven_environment(NAME, gymnasium.make(NAME))
    assert mean_return(NAME, environment.policy(found.files[POLICY])) > -250.0

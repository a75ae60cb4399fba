"""A run that is interrupted in the middle of learning goes on learning: what it knew is there, and grows."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from racing.driving import VectorDriving
from racing.policy import Policy
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track, parse_track
from scripts import demo_settings
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site
from tests.support.waiting import wait_until

__all__ = ["s3"]

CARS = 16
EVALUATION_SECONDS = 20.0
UPDATES_BEFORE = 5_000
UPDATES_AFTER = 3_000
VERSIONS = 5
LEARNING_SECONDS = 240.0


def mean_distance(policy: Policy, track: Track) -> float:
    """Metres that each of CARS cars gets without exploration before it errs, on average; same starts each time."""
    task = Task(track, TaskConfig(max_episode_seconds=EVALUATION_SECONDS))
    driving = VectorDriving(SimulatedCar(track, count=CARS, seed=99), task)
    observation = driving.reset()
    going, distance = np.ones(CARS, bool), np.zeros(CARS)
    for _ in range(int(EVALUATION_SECONDS * task.config.control_hz)):
        speed = np.hypot(*driving.state.velocity.T)
        distance[going] += speed[going] * driving.period
        step = driving.step(policy.act(observation))
        going &= ~(step.terminated | step.truncated)
        observation = step.observation
    return float(distance.mean())


def skill(site: Site, track: Track) -> float:
    """The mean distance of the next VERSIONS versions that the trainer publishes: one alone may be a bad moment."""
    store = site.store()
    try:
        newest, distances = 0, list[float]()
        while len(distances) < VERSIONS:
            wait_until(lambda: store.latest_weights(newer_than=newest) is not None, "a new version comes", 30.0)  # noqa: B023
            row = store.latest_weights(newer_than=newest)
            assert row is not None
            newest = row.serial
            distances.append(mean_distance(Policy.from_bytes(row.blob, Task(track).signature), track))
        return float(np.mean(distances))
    finally:
        store.close()


def wait_for_updates(site: Site, count: int) -> None:
    """Wait until the trainer has made `count` updates in all."""
    store = site.store()
    try:
        wait_until(lambda: store.progress().updates >= count, f"{count} updates are made", LEARNING_SECONDS)
    finally:
        store.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trainer_killed_while_it_learns_is_not_set_back(tmp_path: Path, s3: MotoS3) -> None:
    settings = msgspec.to_builtins(demo_settings.demo_run(s3.endpoint_url)) | {"save_frequency": 1_000}
    for name in ("run_id", "bucket"):
        del settings[name]
    track = parse_track(demo_settings.TRACK)
    with Site(tmp_path / "resumed", s3, **settings) as site:
        site.start_receiver()
        site.wait_for_receiver()
        site.start_trainer()
        car = ("--car", "simulated", "--cars", CARS, "--track", demo_settings.TRACK)
        site.start(BRIDGE, "bridge", "drive", *car, "--rate", "20", "--spool", site.spool)
        wait_for_updates(site, UPDATES_BEFORE)
        before = skill(site, track)

        site.kill(TRAINER)
        saved = site.checkpoint_counters()
        site.start_trainer()
        wait_for_updates(site, saved.updates + UPDATES_AFTER)
        after = skill(site, track)

        site.check_running(RECEIVER, TRAINER, BRIDGE)
        print(f"mean distance: {before:.0f} m before the interruption, {after:.0f} m after")
        assert saved.steps > 0
        assert after >= before
        final = site.terminate(TRAINER)
        assert final == 0
        assert site.checkpoint_counters().steps > saved.steps

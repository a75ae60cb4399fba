"""A run of PPO is paced, published, finished and taken up again by the loop that knows nothing of PPO."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experience.codec import encode_batch
from experience.environment import racing
from tests.support.experience import STREAM, made_up_batch
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from train_cloud.history_table import beats, points, report
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig
from train_cloud.store import IncomingBatch, Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.checkpoint import method_and_networks, restore_learner
from train_cloud.trainer.saving.manifest import find_newest
from train_cloud.trainer.saving.uploads import Uploads

__all__ = ["s3"]

LEAD = 150


def config_of(steps: int) -> RunConfig:
    return run_config(
        method="ppo",
        network=[8],
        batch_size=20,
        total_timesteps=steps,
        max_lead_steps=LEAD,
        publish_seconds=0.01,
        ppo={"rollout_steps": 100, "epochs": 2},
    )


@contextmanager
def driving(path: Path, first: int) -> Iterator[None]:
    """A car that drives by the newest version, waits like a simulated one, and notices a new one two batches late."""
    stop = threading.Event()

    def drive() -> None:
        store, number, versions = Store(path), first, [0]
        stored = sum(steps for *_, steps in store.positions())
        while not stop.wait(0.002):
            newest = store.latest_weights()
            if newest is None or stored - store.progress().trained_steps > LEAD:
                continue
            versions.append(newest.version)
            batch = made_up_batch(number, late_share=0.1)
            batch = replace(batch, policy_versions=np.full(batch.steps, versions[max(0, len(versions) - 3)], np.uint32))
            store.add_batches([IncomingBatch(STREAM, number, batch.steps, encode_batch(batch))])
            number, stored = number + 1, stored + batch.steps
        store.close()

    thread = threading.Thread(target=drive, name="driving")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def live(folder: Path, objects: ObjectStore, config: RunConfig) -> tuple[Counters, Figures]:
    store, found, counters = Store(folder / "store.db"), find_newest(objects), Counters()
    learner = make_learner(config, racing())
    if found.checkpoint is not None:
        counters = restore_learner(learner, found.checkpoint, method_and_networks(config))
    uploads = Uploads(objects, found.latest_etag)
    tracking = Tracking(config, folder, objects, counters.steps)
    first, layout = 1 + max((number for _, _, number, _ in store.positions()), default=0), racing().spaces.layout
    try:
        trainer = Trainer(config, store, uploads, tracking, learner, counters, threading.Event(), layout)
        with driving(store.path, first):
            assert trainer.run()
        assert uploads.wait(120)
    finally:
        uploads.close()
        tracking.close()
        store.close()
    return counters, learner.figures()


@pytest.mark.slow
def test_a_run_of_ppo_ends_and_goes_on_although_some_of_its_steps_come_too_late(tmp_path: Path, s3: MotoS3) -> None:
    store, objects = Store(tmp_path / "store.db"), open_store(s3.bucket, "runs/test-run/")
    store.register_stream(STREAM, "pc", "signature")
    store.close()
    counters, figures = live(tmp_path, objects, config_of(400))
    assert counters.steps >= 400
    assert counters.updates >= int(400 * 2 / 20)
    assert figures.dropped_steps > 0
    assert figures.losses["value_loss"] > 0
    versions = counters.weights_version
    assert versions > 2
    again, _ = live(tmp_path, objects, config_of(900))
    assert again.steps >= 900
    assert again.weights_version > versions
    metrics = json.loads(objects.get("metrics.json")[0])
    assert (metrics["state"], metrics["method"]) == ("done", "ppo")
    assert metrics["dropped_steps"] > 0
    store = Store(tmp_path / "store.db")
    told, drawn = report(store), [point.steps for _, point in points(store)]
    assert (told["state"], told["method"], beats(store)["trainer"].state) == ("done", "ppo", "done")
    assert drawn == sorted(set(drawn))
    assert drawn[-1] == again.steps
    store.close()

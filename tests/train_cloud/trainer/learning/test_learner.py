"""The loop trains whatever learner it is given: here one without networks and replay buffer, at a pace of its own."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experience.batches import AnyArray, Batch
from experience.environment import racing
from tests.support.experience import STREAM, incoming, made_up_batch
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig
from train_cloud.store import Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Figures, Learner
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.checkpoint import restore_learner
from train_cloud.trainer.saving.manifest import CheckpointError, find_newest
from train_cloud.trainer.saving.uploads import Uploads

__all__ = ["s3"]

AT_ONCE = 3
"""Updates that a Summer makes at most, however many it is allowed."""


class Summer:
    """Learns the sum of all rewards, and so needs no step a second time."""

    remembers = 0
    waits_for_version = False
    demonstrations = None

    def __init__(self) -> None:
        self.total = 0.0
        self.steps = self.updates = 0

    def act(self, observations: Any, explore: bool) -> AnyArray:  # noqa: ARG002 - its policy is to do nothing
        return np.zeros((len(observations), 1), np.float32)

    def take(self, batch: Batch, _new: bool = True, /) -> int:
        self.total += float(batch.rewards.sum())
        self.steps += batch.steps
        return batch.steps

    def update(self, budget: int) -> int:
        made = min(budget, AT_ONCE)
        self.updates += made
        return made

    def figures(self) -> Figures:
        return Figures({"surprise": 0.5}, 0)

    def check(self) -> None:
        pass

    def memory_digest(self) -> str:
        return "nothing"

    def policy(self, version: int) -> bytes:
        return json.dumps({"version": version, "updates": self.updates}).encode()

    def state(self, counters: Counters) -> bytes:
        return json.dumps({"total": self.total, "steps": counters.steps, "updates": counters.updates}).encode()

    def restore(self, state: bytes, counters: Counters) -> None:
        found = json.loads(state)
        self.total, self.steps, self.updates = found["total"], found["steps"], found["updates"]
        assert (self.steps, self.updates) == (counters.steps, counters.updates)


class Lives:
    """The processes of one run, one after the other."""

    def __init__(self, folder: Path, s3: MotoS3) -> None:
        self.store = Store(folder / "store.db")
        self.store.register_stream(STREAM, "pc", "signature")
        self.objects = open_store(s3.bucket, "runs/test-run/")

    def live(self, config: RunConfig, learner: Learner) -> Counters:
        """Take the run up from its checkpoint, if there is one, and train it to its end."""
        found, counters = find_newest(self.objects), Counters()
        if found.checkpoint is not None:
            counters = restore_learner(learner, found.checkpoint)
        uploads = Uploads(self.objects, found.latest_etag)
        tracking = Tracking(config, self.store.path.parent, self.objects, counters.steps)
        try:
            stop, layout = threading.Event(), racing().spaces.layout
            assert Trainer(config, self.store, uploads, tracking, learner, counters, stop, layout).run()
            assert uploads.wait(120)
        finally:
            uploads.close()
            tracking.close()
        return counters


@pytest.fixture
def lives(tmp_path: Path, s3: MotoS3) -> Iterator[Lives]:
    lives = Lives(tmp_path, s3)
    yield lives
    lives.store.close()


def config_of(steps: int) -> RunConfig:
    return run_config(total_timesteps=steps, learning_starts=100, updates_per_step=0.5, gradient_chunk=8, network=[8])


def test_another_kind_of_learner_is_trained_saved_and_taken_up_again(lives: Lives) -> None:
    lives.store.add_batches(incoming(range(1, 11)))
    first = Summer()
    counters = lives.live(config_of(200), first)
    assert (counters.steps, counters.updates) == (first.steps, first.updates) == (200, 50)
    row = lives.store.latest_weights()
    assert row is not None
    assert json.loads(row.blob) == {"version": counters.weights_version, "updates": 50}

    lives.store.add_batches(incoming(range(1, 21)))
    second = Summer()
    counters = lives.live(config_of(400), second)
    assert (counters.steps, counters.updates) == (second.steps, second.updates) == (400, 150)
    metrics = json.loads(lives.objects.get("metrics.json")[0])
    assert (metrics["losses"], metrics["replay_rows"], metrics["state"]) == ({"surprise": 0.5}, 0, "done")

    rewards = sum(float(made_up_batch(number).rewards.sum()) for number in range(1, 21))
    assert second.total == pytest.approx(rewards), "every step was taken in once"


def test_a_checkpoint_of_another_kind_of_learner_is_refused_with_a_sentence(lives: Lives) -> None:
    lives.store.add_batches(incoming(range(1, 11)))
    lives.live(config_of(200), Summer())
    found = find_newest(lives.objects).checkpoint
    assert found is not None
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        restore_learner(make_learner(config_of(200), racing()), found)

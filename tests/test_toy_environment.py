"""Another environment and another learner go through spool, link, receiver, store and trainer as they are.

The environment has images (a Box of uint8) and Discrete actions; the learner is a table. Neither touches a file of the
product: that is the promise of this test.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from experience.batches import AnyArray, Batch
from experience.environment import Environment
from experience.recorder import Recorder
from experience.spaces import Spaces, SpaceSpec
from tests.support.links import running
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import ThreadedReceiver
from tests.support.runs import boxes, run_config
from tests.support.waiting import wait_until
from train_cloud.environment import environment_of
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Figures
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.checkpoint import restore_learner
from train_cloud.trainer.saving.manifest import find_newest
from train_cloud.trainer.saving.uploads import Uploads

__all__ = ["s3"]

STEPS = 300
CELLS, MOVES = 5, 3


class Corridor(gymnasium.Env[np.ndarray[Any, Any], np.int64]):
    """A light in one of CELLS cells, shown as an image; moving it to the right end is worth 1."""

    observation_space = spaces.Box(0, 255, (1, CELLS, 3), np.uint8)
    action_space = spaces.Discrete(MOVES)

    def reset(self, **_: Any) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        self._at, self._steps = 0, 0
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        self._at, self._steps = int(np.clip(self._at + action - 1, 0, CELLS - 1)), self._steps + 1
        there = self._at == CELLS - 1
        return self._seen(), float(there), there, not there and self._steps >= 20, {}

    def _seen(self) -> np.ndarray[Any, Any]:
        image = np.zeros((1, CELLS, 3), np.uint8)
        image[0, self._at] = 255
        return image


SPACES = Spaces(SpaceSpec(Corridor.observation_space), SpaceSpec(Corridor.action_space))
ENVIRONMENT = Environment("toys/Corridor-v0", SPACES)


class Table:
    """A learner that is no neural network: mean reward of each (cell, move)."""

    remembers = 10_000
    waits_for_version = False
    demonstrations = None

    def __init__(self) -> None:
        self.sums, self.counts, self.updates = np.zeros((CELLS, MOVES)), np.zeros((CELLS, MOVES)), 0

    def act(self, observations: Any, explore: bool) -> AnyArray:  # noqa: ARG002 - it never explores
        means = self.sums / np.maximum(self.counts, 1)
        return np.asarray(means[observations.reshape(-1, CELLS, 3)[:, :, 0].argmax(axis=1)].argmax(axis=1))

    def take(self, batch: Batch, _new: bool = True, /) -> int:
        images = batch.current_observations().reshape(-1, CELLS, 3)
        assert images.dtype == np.uint8
        assert batch.actions.dtype == np.int64
        cells, moves = images[:, :, 0].argmax(axis=1), batch.actions[:, 0]
        np.add.at(self.sums, (cells, moves), batch.rewards)
        np.add.at(self.counts, (cells, moves), 1)
        return batch.steps

    def update(self, budget: int) -> int:
        self.updates += budget
        return budget

    def figures(self) -> Figures:
        return Figures({"value": float(self.sums.sum())}, int(self.counts.sum()))

    def check(self) -> None:
        pass

    def memory_digest(self) -> str:
        return "none"

    def policy(self, version: int) -> bytes:
        return json.dumps({"version": version, "table": self.sums.tolist()}).encode()

    def state(self, counters: Counters) -> bytes:
        return json.dumps([self.sums.tolist(), self.counts.tolist(), counters.updates]).encode()

    def restore(self, state: bytes, counters: Counters) -> None:
        sums, counts, self.updates = json.loads(state)
        self.sums, self.counts = np.array(sums), np.array(counts)
        assert self.updates == counters.updates


def lived(recorder: Recorder) -> list[tuple[int, int, float]]:
    """Walk at random for STEPS steps, all of them recorded; (cell, move, reward) of each."""
    corridor, random, walked = Corridor(), np.random.default_rng(1), []
    seen, _ = corridor.reset()
    for _ in range(STEPS):
        move = np.int64(random.integers(MOVES))
        following, reward, terminated, truncated, _ = corridor.step(move)
        ended = terminated or truncated
        fresh = corridor.reset()[0] if ended else following
        step = SimpleNamespace(
            observation=fresh[None],
            next_observation=following[None],
            action=np.array([move]),
            reward=np.array([reward], np.float32),
            terminated=np.array([terminated]),
            truncated=np.array([truncated]),
            action_age=np.zeros(1, np.float32),
            off_period=False,
            laps=(),
            episodes=(),
        )
        assert recorder.record(seen[None], cast(Any, step), 1)
        walked.append((int(seen[0, :, 0].argmax()), int(move), reward))
        seen = fresh
    return walked


@pytest.fixture
def receiver(tmp_path: Path, s3: MotoS3) -> Iterator[ThreadedReceiver]:
    (tmp_path / "instance").mkdir()
    config = run_config(
        run_id="toy",
        bucket={"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url},
        environment={"kind": "gymnasium", "id": ENVIRONMENT.name},
        total_timesteps=STEPS,
        learning_starts=10,
        updates_per_step=0.5,
    )
    running_receiver = ThreadedReceiver(config, tmp_path / "instance")
    yield running_receiver
    running_receiver.close()


def collected(spool: Spool, link: Link) -> list[tuple[int, int, float]]:
    recorder = Recorder(spool, SPACES.layout, 1, on_commit=link.notify, flush_seconds=0.1)
    walked = lived(recorder)
    recorder.close()
    wait_until(lambda: link.all_stored, "everything is stored", 60)
    return walked


def test_a_toy_environment_and_a_toy_learner_need_no_change(
    receiver: ThreadedReceiver, tmp_path: Path, s3: MotoS3
) -> None:
    assert environment_of(receiver.config) is None
    with (
        Spool(tmp_path / "spool") as spool,
        running(receiver.pairing, spool, Introduction(ENVIRONMENT, False, 1, "toy")) as link,
    ):
        walked = collected(spool, link)
    found = environment_of(receiver.config, (state.spaces for state in receiver.store.streams().values()))
    assert found is not None
    assert (found.signature, found.spaces) == (ENVIRONMENT.signature, SPACES)
    table, objects = Table(), open_store(s3.bucket, "runs/toy/")
    uploads = Uploads(objects, None)
    tracking = Tracking(receiver.config, tmp_path, objects, 0)
    try:
        stop, layout = threading.Event(), found.spaces.layout
        trainer = Trainer(receiver.config, receiver.store, uploads, tracking, table, Counters(), stop, layout)
        assert trainer.run()
        assert uploads.wait(120)
    finally:
        uploads.close()
        tracking.close()
    expected = np.zeros((CELLS, MOVES))
    for cell, move, reward in walked:
        expected[cell, move] += reward
    assert np.array_equal(table.sums, expected)
    assert table.counts.sum() == STEPS
    assert table.updates > 0
    newest = receiver.store.latest_weights()
    assert newest is not None
    assert json.loads(newest.blob)["table"] == expected.tolist()
    checkpoint = find_newest(objects).checkpoint
    assert checkpoint is not None
    assert checkpoint.manifest.steps == STEPS
    again = Table()
    assert restore_learner(again, checkpoint).steps == STEPS
    assert np.array_equal(again.sums, table.sums)
    assert again.updates == table.updates


def test_the_first_bridge_says_the_spaces_and_the_others_keep_to_them(
    receiver: ThreadedReceiver, tmp_path: Path
) -> None:
    with (
        Spool(tmp_path / "spool") as spool,
        running(receiver.pairing, spool, Introduction(ENVIRONMENT, False, 1, "toy")) as link,
    ):
        wait_until(lambda: link.state.connected, "the first is welcomed", 30)
    other = Environment(ENVIRONMENT.name, boxes(3, 2))
    with (
        Spool(tmp_path / "other") as spool,
        running(receiver.pairing, spool, Introduction(other, False, 1, "toy")) as link,
    ):
        wait_until(lambda: link.refusal is not None, "the second is refused", 30)
        assert "wrong_signature" in str(link.refusal)
        assert "toys/Corridor-v0 with the spaces" in str(link.refusal)


def test_a_method_that_cannot_act_in_the_environment_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"`method` has the value 'sac', which needs continuous actions"):
        make_learner(run_config(), ENVIRONMENT)

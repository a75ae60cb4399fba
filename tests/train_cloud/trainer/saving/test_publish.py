"""The policy in a checkpoint is, byte for byte, the one that was published under the version that it names."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from experience.batches import NOBODY
from experience.codec import encode_batch
from experience.environment import racing
from racing.policy import Policy
from racing.task import OBSERVATION_SIZE
from tests.support.experience import STREAM, incoming, made_up_batch
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from train_cloud.object_store import ObjectStore
from train_cloud.open_store import open_store
from train_cloud.store import IncomingBatch, Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.manifest import find_newest
from train_cloud.trainer.saving.uploads import Uploads
from train_cloud.versions import LOST_VERSIONS

__all__ = ["s3"]

STEPS, UPDATES = 200, 50
ROOM = 400_000
"""Bytes of a store that holds the run and its first weights, but not what `fill` writes."""


class Life:
    """One process of a run of STEPS steps, taken in and learned from by `run`; it publishes only when it must."""

    def __init__(self, store: Store, objects: ObjectStore, counters: Counters | None = None) -> None:
        self.store = store
        self.counters = counters or Counters()
        self._objects = objects
        config = run_config(
            network=[16, 16],
            batch_size=32,
            total_timesteps=STEPS,
            learning_starts=100,
            updates_per_step=0.5,
            gradient_chunk=8,
            publish_seconds=1000.0,
            policy_average=1,
        )
        self.uploads = Uploads(objects, find_newest(objects).latest_etag)
        self._tracking = Tracking(config, store.path.parent, objects, self.counters.steps)
        learner = make_learner(config, racing())
        stop, layout = threading.Event(), racing().spaces.layout
        self.trainer = Trainer(config, store, self.uploads, self._tracking, learner, self.counters, stop, layout)

    def saved(self) -> tuple[Counters, bytes]:
        """The newest checkpoint's counters and policy."""
        assert self.uploads.wait(120)
        found = find_newest(self._objects).checkpoint
        assert found is not None
        return (
            msgspec.json.decode(found.files["counters.json"], type=Counters),
            found.files["policy.safetensors"],
        )

    def close(self) -> None:
        self.uploads.close()
        self._tracking.close()


Begin = Callable[..., Life]


@pytest.fixture
def begin(tmp_path: Path, s3: MotoS3) -> Iterator[Begin]:
    lives: list[Life] = []
    objects = open_store(s3.bucket, "runs/test-run/")

    def begin(max_bytes: int | None = None, counters: Counters | None = None) -> Life:
        store = Store(tmp_path / "store.db", max_bytes)
        store.register_stream(STREAM, "pc", "signature")
        lives.append(Life(store, objects, counters))
        return lives[-1]

    yield begin
    for life in lives:
        life.close()


def fill(life: Life) -> None:
    """Another process brings the store past the limit of this one."""
    other = Store(life.store.path)
    other.register_stream("f" * 32, "pc", "signature")
    other.add_batches([IncomingBatch("f" * 32, 1, 20, bytes(2 * ROOM))])
    other.close()


def check_the_published_policy_is_saved(life: Life) -> int:
    """The newest checkpoint's policy is the store's newest; returns its version."""
    counters, policy = life.saved()
    row = life.store.latest_weights()
    assert row is not None
    assert policy == row.blob
    assert hashlib.sha256(policy).hexdigest() == row.sha256
    assert counters.weights_version == row.version == Policy.from_bytes(policy).version
    return row.version


def learn(life: Life, batches: range) -> None:
    """Take batches of 20 steps in and learn all that is owed for them, as the loop does."""
    life.store.add_batches(incoming(batches))
    while life.trainer._ingest.read() or life.trainer._update():
        pass


def test_a_checkpoint_holds_what_was_published(begin: Begin) -> None:
    life = begin()
    life.trainer._publisher.publish(life.trainer.learner)
    life.trainer.save()
    assert check_the_published_policy_is_saved(life) == 1


@pytest.mark.slow
def test_what_was_learned_since_is_published_before_it_is_saved(begin: Begin) -> None:
    life = begin()
    learn(life, range(1, 8))
    life.trainer.save()
    version = check_the_published_policy_is_saved(life)
    _, first = life.saved()
    learn(life, range(8, 11))
    assert life.counters.updates == UPDATES
    life.trainer.save()
    assert check_the_published_policy_is_saved(life) == version + 1
    assert life.saved()[1] != first
    life.trainer.save()
    assert check_the_published_policy_is_saved(life) == version + 1, "nothing was learned, so nothing is published"


def test_a_finished_run_leaves_the_policy_that_was_published_last(begin: Begin) -> None:
    life = begin()
    life.store.add_batches(incoming(range(1, 11)))
    assert life.trainer.run()
    assert life.counters.updates == UPDATES
    assert check_the_published_policy_is_saved(life) > 1, "the first was published before anything was learned"


@pytest.mark.slow
def test_while_the_store_is_full_the_policy_published_before_stays(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    life = begin(ROOM)
    learn(life, range(1, 8))
    life.trainer.save()
    version = check_the_published_policy_is_saved(life)
    _, first = life.saved()
    learn(life, range(8, 11))
    fill(life)
    life.trainer.save()
    assert "weights not published" in caplog.text
    assert check_the_published_policy_is_saved(life) == version
    counters, policy = life.saved()
    assert policy == first
    assert counters.updates == UPDATES


@pytest.mark.slow
def test_a_process_that_could_publish_nothing_keeps_what_the_one_before_published(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    before = begin()
    learn(before, range(1, 11))
    before.trainer.save()
    version = check_the_published_policy_is_saved(before)
    _, published = before.saved()
    fill(before)
    # Its checkpoint may be older than the store's weights: the counters then know no version yet.
    life = begin(1, Counters())
    life.trainer.save()
    assert "weights not published" in caplog.text
    assert check_the_published_policy_is_saved(life) == version
    assert life.saved()[1] == published


@pytest.mark.slow
@pytest.mark.parametrize("known", [0, 7])
def test_a_policy_that_was_never_published_takes_a_version_from_nobody(begin: Begin, known: int) -> None:
    if known:  # The store's weights are older than the version that the checkpoint knows.
        begin().store.put_weights(3, b"published long ago", "0" * 64)
    else:
        begin()
    full = begin(1, Counters(weights_version=known))
    full.trainer.save()
    counters, policy = full.saved()
    assert counters.weights_version == Policy.from_bytes(policy).version == known + 1

    life = begin(None, counters)
    life.trainer.save()
    assert check_the_published_policy_is_saved(life) == known + 2


@pytest.mark.slow
def test_a_learner_that_was_put_back_is_saved_with_its_own_policy_though_the_store_is_full(begin: Begin) -> None:
    life = begin(ROOM)
    learn(life, range(1, 8))
    life.trainer.save()
    _, before = life.saved()
    learn(life, range(8, 11))
    life.trainer._publisher.pass_over()
    fill(life)
    life.trainer.save()
    counters, policy = life.saved()
    assert Policy.from_bytes(policy).version == counters.weights_version
    assert policy != before
    rows = np.random.default_rng(1).uniform(-1, 1, (50, OBSERVATION_SIZE)).astype(np.float32)
    acted = life.trainer.learner.act(rows, explore=False)
    assert np.abs(Policy.from_bytes(policy).act(rows) - acted).max() < 0.01
    assert np.abs(Policy.from_bytes(before).act(rows) - acted).max() > 0.01


def driven_by(number: int, version: int) -> IncomingBatch:
    batch = replace(made_up_batch(number), policy_versions=np.full(20, version, np.uint32))
    return IncomingBatch(STREAM, number, batch.steps, encode_batch(batch))


def test_a_version_that_a_bridge_made_up_numbers_nothing(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    life = begin()
    life.store.add_batches([driven_by(number, NOBODY - number) for number in range(1, 11)])
    assert life.trainer.run()
    assert check_the_published_policy_is_saved(life) < 20
    assert life.counters.seen_version == 0
    assert caplog.text.count("a bridge names a policy that was never published") == 1


def test_the_versions_of_a_lost_life_are_passed_over_once(begin: Begin) -> None:
    """Bridges hold 512, the checkpoint knows of 500: no new policy may take a number that they may have."""
    life = begin(None, Counters(weights_version=500))
    life.store.add_batches([driven_by(1, 512), driven_by(2, 600), *(driven_by(n, 3) for n in range(3, 11))])
    assert life.trainer.run()
    assert 500 + LOST_VERSIONS < check_the_published_policy_is_saved(life) < 520 + LOST_VERSIONS
    assert life.counters.seen_version == 600


@pytest.mark.slow
@pytest.mark.parametrize("what", ["moment", "loss", "weight"])
def test_numbers_that_are_no_longer_sane_end_the_run_and_are_never_saved(begin: Begin, what: str) -> None:
    life = begin()
    learn(life, range(1, 8))
    life.trainer.save()
    good = life.saved()
    learner = life.trainer.learner
    assert isinstance(learner, OffPolicyLearner)
    algorithm = learner.algorithm
    if what == "moment":  # Such an optimiser moves nothing any more, and nothing else shows it.
        next(iter(algorithm.critic.optimizer.state.values()))["exp_avg_sq"].fill_(float("inf"))
    elif what == "weight":
        next(algorithm.critic.parameters()).data.view(-1)[0] = float("nan")
    else:
        learn(life, range(8, 11))
        algorithm.logger.record("train/critic_loss", 1e30)
    with pytest.raises(Diverged, match=what if what != "loss" else "critic_loss is 1e"):
        life.trainer.run()
    with pytest.raises(Diverged, match="the last checkpoint is still good"):
        life.trainer.save()
    assert life.saved() == good

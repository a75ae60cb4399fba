"""A checkpoint brings everything back, damage is noticed, and a kill at any upload leaves a sound one in force."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from experience.environment import Environment
from racing.policy import Policy
from tests.support.judged import lapped
from tests.support.learners import off_policy_learner, replay_of
from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import boxes, run_config
from tests.support.waiting import wait_until
from train_cloud import s3_store
from train_cloud.bucket_probe import probe
from train_cloud.object_store import ObjectStore, ObjectStoreDenied, ObjectStoreUnavailable, PreconditionFailed
from train_cloud.open_store import open_store
from train_cloud.run_folder.keys import LATEST
from train_cloud.s3_store import S3Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import SpacesOnly, make_learner
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.saving import uploads as uploads_module
from train_cloud.trainer.saving.checkpoint import make_checkpoint, restore_learner
from train_cloud.trainer.saving.manifest import Checkpoint, CheckpointError, find_best, find_newest
from train_cloud.trainer.saving.uploads import AnotherWriter, Uploads

__all__ = ["s3"]

ENV = SpacesOnly(boxes(6, 2))
ENVIRONMENT = Environment("six", boxes(6, 2))


def learner_with_experience(method: str = "sac", seed: int = 0) -> OffPolicyLearner:
    # Not averaged: what drives is what plain stable-baselines3 opens.
    small = {"network": [16, 16], "batch_size": 32, "buffer_size": 500, "policy_average": 1}
    config = run_config(method=method, seed=seed, **small)
    learner = off_policy_learner(config, ENVIRONMENT)
    rng = np.random.default_rng(8)
    replay_of(learner).insert(
        rng.normal(size=(400, 6)).astype(np.float32),
        rng.uniform(-1, 1, (400, 2)).astype(np.float32),
        rng.normal(size=400).astype(np.float32),
        rng.normal(size=(400, 6)).astype(np.float32),
        rng.random(400) < 0.1,
    )
    return learner


def checkpoint_of(learner: OffPolicyLearner, steps: int, updates: int = 0) -> Checkpoint:
    return make_checkpoint(learner, Counters(steps=steps, updates=updates), learner.policy(1))


def same_parameters(a: OffPolicyLearner, b: OffPolicyLearner) -> bool:
    ours, theirs = a.algorithm.policy.state_dict(), b.algorithm.policy.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def objects(s3: MotoS3) -> ObjectStore:
    return open_store(s3.bucket, "runs/test-run/")


def test_a_checkpoint_of_another_environment_is_refused() -> None:
    learner = learner_with_experience()
    saved = make_checkpoint(learner, Counters(steps=400, signature="six 0123"), learner.policy(1))
    assert restore_learner(learner_with_experience(), saved, signature="six 0123").steps == 400
    with pytest.raises(CheckpointError, match="its spaces or its kwargs are others"):
        restore_learner(learner_with_experience(), saved, signature="six 4567")


def upload(objects: ObjectStore, checkpoint: Checkpoint) -> None:
    uploads = Uploads(objects, find_newest(objects).latest_etag)
    uploads.checkpoint(checkpoint)
    assert uploads.wait(120)
    uploads.close()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sac", "tqc", "crossq"])
def test_a_restored_learner_goes_on_exactly_as_the_original(method: str) -> None:
    original = learner_with_experience(method)
    assert original.update(7) == 7
    saved = checkpoint_of(original, steps=400, updates=7)
    assert original.update(5) == 5
    restored = learner_with_experience(method, seed=99)
    counters = restore_learner(restored, saved)
    assert (counters.steps, counters.updates) == (400, 7)
    assert restored.update(5) == 5
    assert same_parameters(original, restored)
    assert original.algorithm.log_ent_coef is not None
    assert restored.algorithm.log_ent_coef is not None
    assert torch.equal(original.algorithm.log_ent_coef, restored.algorithm.log_ent_coef)


def test_the_model_opens_in_plain_stable_baselines3_and_the_policy_without_torch(tmp_path: Path) -> None:
    learner = learner_with_experience()
    assert learner.update(3) == 3
    saved = checkpoint_of(learner, steps=400, updates=3)
    (tmp_path / "model.zip").write_bytes(saved.files["model.zip"])
    plain = SAC.load(tmp_path / "model.zip", device="cpu")
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    ours, _ = learner.algorithm.predict(rows, deterministic=True)
    assert np.array_equal(plain.predict(rows, deterministic=True)[0], ours)
    assert np.abs(Policy.from_bytes(saved.files["policy.safetensors"]).act(rows) - ours).max() < 1e-3


def test_a_checkpoint_of_another_network_is_refused_with_a_sentence() -> None:
    other = make_learner(run_config(network=[32]), ENVIRONMENT)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        restore_learner(other, checkpoint_of(learner_with_experience(), steps=1))


def test_the_newest_checkpoint_is_found(objects: ObjectStore) -> None:
    learner = learner_with_experience()
    assert find_newest(objects).checkpoint is None
    for steps in (1000, 2000):
        upload(objects, checkpoint_of(learner, steps))
    found = find_newest(objects).checkpoint
    assert found is not None
    assert found.manifest.steps == 2000
    assert set(found.files) == {"model.zip", "policy.safetensors", "counters.json", "rng.npz"}


def damage_model(objects: ObjectStore, newest: Checkpoint) -> None:
    objects.put(newest.manifest.folder + "model.zip", b"rubbish")


def delete_policy(objects: ObjectStore, newest: Checkpoint) -> None:
    objects.delete(newest.manifest.folder + "policy.safetensors")


def spoil_latest(objects: ObjectStore, newest: Checkpoint) -> None:
    objects.put(LATEST, b"{")
    damage_model(objects, newest)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [damage_model, delete_policy, spoil_latest])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_loudly(
    objects: ObjectStore, caplog: pytest.LogCaptureFixture, spoil: Callable[[ObjectStore, Checkpoint], None]
) -> None:
    learner = learner_with_experience()
    upload(objects, checkpoint_of(learner, 1000))
    upload(objects, checkpoint_of(learner, 2000))
    newest = find_newest(objects).checkpoint
    assert newest is not None
    spoil(objects, newest)
    found = find_newest(objects)
    assert found.checkpoint is not None
    assert found.checkpoint.manifest.steps == 1000
    assert "DAMAGED" in caplog.text
    uploads = Uploads(objects, found.latest_etag)
    uploads.checkpoint(checkpoint_of(learner, 3000))
    assert uploads.wait(120)


def test_when_no_checkpoint_is_sound_the_run_does_not_begin_anew_by_itself(objects: ObjectStore) -> None:
    upload(objects, checkpoint_of(learner_with_experience(), 1000))
    newest = find_newest(objects).checkpoint
    assert newest is not None
    damage_model(objects, newest)
    with pytest.raises(CheckpointError, match="No checkpoint of this run is sound"):
        find_newest(objects)


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


class KilledAt(S3Store):
    """The real bucket, until the given write: there the process dies, before or after the write arrived."""

    def __init__(self, s3: MotoS3, write: int, arrives: bool) -> None:
        super().__init__(s3.bucket, "runs/test-run/")
        self._left = write
        self._arrives = arrives
        self.killed = threading.Event()

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        self._left -= 1
        if self._left <= 0:
            if self._arrives and self._left == 0:
                super().put(key, data, if_match=if_match, if_none_match=if_none_match)
            self.killed.set()
            raise Killed
        return super().put(key, data, if_match=if_match, if_none_match=if_none_match)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("arrives", [False, True])
def test_a_kill_at_any_upload_leaves_a_sound_checkpoint(s3: MotoS3, objects: ObjectStore, arrives: bool) -> None:
    learner = learner_with_experience()
    upload(objects, checkpoint_of(learner, 1000))
    for write in range(1, 7):
        dying = KilledAt(s3, write, arrives)
        Uploads(dying, find_newest(objects).latest_etag).checkpoint(checkpoint_of(learner, 1000 + write))
        assert dying.killed.wait(120)
        found = find_newest(objects).checkpoint
        assert found is not None
        last_write = arrives and write == 6
        assert found.manifest.steps == (1006 if last_write else 1000)
        upload(objects, checkpoint_of(learner, 1000))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("arrives", [False, True])
def test_a_kill_at_any_upload_of_the_best_leaves_a_sound_one(s3: MotoS3, objects: ObjectStore, arrives: bool) -> None:
    learner = learner_with_experience()
    first = Uploads(objects, None)
    first.best(checkpoint_of(learner, 1000), lapped(1000))
    assert first.wait(120)
    first.close()
    for write in range(1, 7):
        dying = KilledAt(s3, write, arrives)
        etag = find_best(objects).etag
        Uploads(dying, None, None, etag).best(checkpoint_of(learner, 1000 + write), lapped(1000 + write))
        assert dying.killed.wait(120)
        found = find_best(objects)
        assert found.checkpoint is not None
        assert found.verdict is not None
        assert found.checkpoint.manifest.steps == found.verdict.steps == (1006 if arrives and write == 6 else 1000)


def test_a_second_trainer_of_the_run_is_noticed(objects: ObjectStore) -> None:
    learner = learner_with_experience()
    first, second = Uploads(objects, None), Uploads(objects, None)
    first.checkpoint(checkpoint_of(learner, 1000))
    assert first.wait(120)
    second.checkpoint(checkpoint_of(learner, 900))
    with pytest.raises(AnotherWriter, match="Another trainer"):
        second.wait(120)
    found = find_newest(objects).checkpoint
    assert found is not None
    assert found.manifest.steps == 1000


class AnswerLost(S3Store):
    """The real bucket, whose first answer about LATEST gets lost on the way back."""

    lost = False

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        etag = super().put(key, data, if_match=if_match, if_none_match=if_none_match)
        if key == LATEST and not self.lost:
            self.lost = True
            raise PreconditionFailed("as if the retry had met our own write")
        return etag


def test_our_own_write_with_a_lost_answer_is_not_taken_for_somebody_else(s3: MotoS3) -> None:
    objects = AnswerLost(s3.bucket, "runs/test-run/")
    uploads = Uploads(objects, None)
    for steps in (1000, 2000):
        uploads.checkpoint(checkpoint_of(learner_with_experience(), steps))
        assert uploads.wait(120)
    assert uploads.saved_steps == 2000


class ArrivesLate(S3Store):
    """The real bucket, where the first write of LATEST times out and arrives only when the next one is under way."""

    late: bytes | None = None
    arrived = False

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        if key == LATEST and self.late is None:
            self.late = data
            raise ObjectStoreUnavailable("timed out")
        if key == LATEST and self.late is not None and not self.arrived:
            self.arrived = True
            super().put(key, self.late, if_none_match=True)
        return super().put(key, data, if_match=if_match, if_none_match=if_none_match)


def test_our_own_write_that_arrives_late_is_not_taken_for_somebody_else(s3: MotoS3) -> None:
    objects = ArrivesLate(s3.bucket, "runs/test-run/")
    uploads = Uploads(objects, None)
    learner = learner_with_experience()
    uploads.checkpoint(checkpoint_of(learner, 1000))
    wait_until(lambda: objects.late is not None, "the first write times out")
    uploads.checkpoint(checkpoint_of(learner, 2000))
    assert uploads.wait(120)
    assert uploads.saved_steps == 2000


def test_a_file_whose_upload_fails_in_an_unforeseen_way_is_not_named_by_latest(
    objects: ObjectStore, s3: MotoS3, caplog: pytest.LogCaptureFixture
) -> None:
    uploads = Uploads(objects, None)
    s3.leave_out_etags("model.zip")
    uploads.checkpoint(checkpoint_of(learner_with_experience(), 1000))
    wait_until(lambda: "checkpoint not uploaded yet" in caplog.text or uploads.saved_steps is not None, "it was tried")
    assert find_newest(objects).checkpoint is None
    s3.heal()
    assert uploads.wait(120)
    assert uploads.saved_steps == 1000
    uploads.close()


def folders(objects: ObjectStore) -> set[str]:
    return {key.split("/")[1].split("-")[0].lstrip("0") for key in objects.list("checkpoints/") if key != LATEST}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_killed_uploads_left_is_swept_once_a_later_checkpoint_is_saved(s3: MotoS3, objects: ObjectStore) -> None:
    learner = learner_with_experience()
    upload(objects, checkpoint_of(learner, 1000))
    for steps in (1500, 4000):
        dying = KilledAt(s3, 5, arrives=False)
        Uploads(dying, find_newest(objects).latest_etag).checkpoint(checkpoint_of(learner, steps))
        assert dying.killed.wait(120)
    assert folders(objects) == {"1000", "1500", "4000"}
    uploads = Uploads(objects, find_newest(objects).latest_etag)
    for steps in (2000, 3000):
        uploads.checkpoint(checkpoint_of(learner, steps))
        assert uploads.wait(120)
        assert folders(objects) == {"1000", "2000", "4000"} | {str(steps)}, "one beyond it may be somebody's work"
    uploads.close()


def test_a_role_that_may_not_delete_goes_on(s3: MotoS3, objects: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    class MayNotDelete(S3Store):
        def delete(self, key: str) -> None:
            raise ObjectStoreDenied(f"Could not delete {key}.")

    caplog.set_level("INFO")
    objects.put("checkpoints/000000000500-01234567/model.zip", b"half")
    uploads = Uploads(MayNotDelete(s3.bucket, objects.prefix), None)
    uploads.checkpoint(checkpoint_of(learner_with_experience(), 1000))
    assert uploads.wait(120)
    assert "never finished stay" in caplog.text
    assert folders(objects) == {"500", "1000"}
    uploads.close()


def test_an_instance_deletes_nothing(s3: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (s3_store, uploads_module):
        monkeypatch.setattr(module, "INSTANCE_FILE", tmp_path)
    objects = open_store(s3.bucket, "runs/test-run/")
    objects.put("checkpoints/000000000500-01234567/model.zip", b"half")
    probe(objects)
    uploads = Uploads(objects, None)
    uploads.checkpoint(checkpoint_of(learner_with_experience(), 1000))
    assert uploads.wait(120)
    uploads.close()
    assert folders(objects) == {"500", "1000"}
    assert objects.list("probes/") == []


def test_curves_that_fail_in_an_unforeseen_way_do_not_end_the_checkpoints(objects: ObjectStore) -> None:
    def broken() -> None:
        raise ValueError("a curve that nobody foresaw")

    uploads = Uploads(objects, None)
    uploads.curves(broken)
    assert uploads.wait(120)
    uploads.checkpoint(checkpoint_of(learner_with_experience(), 1000))
    assert uploads.wait(120)
    assert uploads.saved_steps == 1000
    uploads.close()


@pytest.mark.parametrize("status", ["503 Service Unavailable", "403 Forbidden"])
def test_uploads_outlive_an_outage_and_the_newest_checkpoint_wins(
    s3: MotoS3, objects: ObjectStore, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    learner = learner_with_experience()
    uploads = Uploads(objects, None)
    s3.fail(status)
    uploads.checkpoint(checkpoint_of(learner, 1000))
    wait_until(lambda: "training goes on" in caplog.text, "the outage is told")
    uploads.checkpoint(checkpoint_of(learner, 2000))
    assert not uploads.wait(0.05)
    s3.heal()
    assert uploads.wait(120)
    assert uploads.saved_steps == 2000
    assert [key for key in objects.list("checkpoints/") if "000000001000" in key] == []

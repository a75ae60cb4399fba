"""A run whose learning has a defect goes back to its best checkpoint once, over all its lives, and fails after that."""

import msgspec
import numpy as np
import pytest
import torch

from experience.codec import decode_batch
from experience.environment import racing
from racing.task import OBSERVATION_SIZE
from runtime.exit_codes import ExitCode
from tests.support.experience import STREAM, incoming
from tests.support.judged import lapped
from tests.support.learners import SMALL
from tests.support.moto_s3 import s3
from tests.support.runs import run_config
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import BEST, LATEST, MANIFEST, MODEL
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.learning.xqc_learner import XqcLearner
from train_cloud.trainer.saving.checkpoint import make_checkpoint
from train_cloud.trainer.saving.manifest import Best, Checkpoint, find_newest

__all__ = ["run", "s3"]


def save(run: Run, checkpoint: Checkpoint, key: str, body: bytes) -> None:
    """Put a checkpoint into the bucket, as the trainer does."""
    manifest = checkpoint.manifest
    for name, data in checkpoint.files.items():
        run.objects.put(manifest.folder + name, data)
    run.objects.put(manifest.folder + MANIFEST, checkpoint.manifest_bytes)
    run.objects.put(key, body)


def weights_of(learner: Learner) -> list[torch.Tensor]:
    assert isinstance(learner, OffPolicyLearner)
    return list(learner.algorithm.critic.parameters())


def spoil(learner: Learner) -> None:
    """What no weight of a run that learns comes near."""
    with torch.no_grad():
        weights_of(learner)[0].fill_(1e30)


def saved_insane(run: Run, config: RunConfig, counters: Counters) -> None:
    """The newest checkpoint is of a learner that has left all bounds, as if that had not been noticed."""
    learner = make_learner(config, racing())
    policy = learner.policy(counters.weights_version)
    spoil(learner)
    made = make_checkpoint(learner, counters, policy)
    save(run, made, LATEST, made.manifest_bytes)


def saved_best(run: Run, config: RunConfig) -> Checkpoint:
    learner = make_learner(config, racing())
    made = make_checkpoint(learner, Counters(steps=100, updates=7), learner.policy(3))
    best = Best(manifest=made.manifest, verdict=lapped(100))
    save(run, made, BEST, msgspec.json.encode(best))
    return made


@pytest.mark.slow
def test_a_diverged_run_goes_on_from_its_best_once_and_fails_the_second_time(run: Run) -> None:
    config = run.config(total_timesteps=10_000)
    run.store.add_batches(incoming(range(1, 6)))
    best = saved_best(run, config)
    saved_insane(run, config, Counters(steps=100, updates=40, consumed={STREAM: 5}, weights_version=9))

    process = run.start_process(config)
    wait_until(lambda: "goes back to its best checkpoint, once" in run.log.read_text(), "it goes back", 60.0)
    wait_until(lambda: run.counters().judged.went_back_at == 100, "that is saved", 60.0)
    assert process.poll() is None
    after = run.counters()
    assert (after.steps, after.updates, after.consumed) == (100, 40, {STREAM: 5}), "the counters go on"
    assert after.weights_version > 9, "its policy is another than the one before"
    newest = find_newest(run.objects).checkpoint
    assert newest is not None
    restored, wanted = make_learner(config, racing()), make_learner(config, racing())
    restored.restore(newest.files[MODEL], after)
    wanted.restore(best.files[MODEL], after)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(restored), weights_of(wanted), strict=True))
    run.store.add_batches(incoming(range(6, 11)))
    wait_until(lambda: run.trained() >= 200, "it learns on", 60.0)
    process.kill()
    process.wait(120)

    again = run.start_process(config)
    wait_until(lambda: run.log.read_text().count("event=training") >= 2, "the next life is at work", 60.0)
    assert run.counters().judged.went_back_at == 100
    again.kill()
    again.wait(120)
    saved_insane(run, config, run.counters())
    last = run.start_process(config)
    assert last.wait(240) == ExitCode.FAILED
    assert "went back to its best checkpoint before" in run.log.read_text()
    assert "Training has diverged" in run.log.read_text()


@pytest.mark.slow
def test_without_a_best_a_diverged_run_ends_as_it_always_did(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    config = run.config(total_timesteps=10_000)
    saved_insane(run, config, Counters(steps=100, updates=40, weights_version=9))
    assert run.start(config).result(300) == ExitCode.FAILED
    assert "Training has diverged" in caplog.text
    assert "goes back" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sac", "tqc", "crossq", "xqc", "ppo"])
def test_a_learner_that_is_at_work_takes_up_an_earlier_state(method: str) -> None:
    config = run_config(method=method, learning_starts=0, total_timesteps=10_000, **SMALL)
    learner = make_learner(config, racing())
    learner.policy(1)
    state = learner.state(Counters())
    observation = np.full((1, OBSERVATION_SIZE), 0.25, np.float32)
    action = racing().policy(learner.policy(1)).act(observation)

    def learn() -> None:
        for batch in incoming(range(1, 9)):
            learner.take(decode_batch(batch.blob, racing().spaces.layout))
        assert learner.update(4)

    learn()
    learner.check()
    networks = learner.networks if isinstance(learner, XqcLearner) else getattr(learner, "algorithm").policy  # noqa: B009 - mypy
    with torch.no_grad():
        next(iter(networks.parameters())).fill_(1e30)
    with pytest.raises(Diverged):
        learner.check()
    learner.restore(state, Counters(steps=160, updates=4, weights_version=1))
    learner.check()
    assert learner.figures().losses == {}, "they are of the networks before"
    assert racing().policy(learner.policy(1)).act(observation).tolist() == action.tolist()
    learn()
    learner.check()

"""Demonstrations are kept for ever and learned from in their share of each batch; the policy may begin as a copy."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experience.batches import Batch
from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.learners import SMALL, Made, toy_learner
from tests.support.runs import run_config
from tests.support.toys import Collector
from train_cloud.run_config import MAX_DEMONSTRATIONS
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.demonstrations import CLONED_AT_A_STRETCH, Demonstrations
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.on_policy import PpoLearner
from train_cloud.trainer.learning.replay import PackedReplayBuffer
from train_cloud.trainer.learning.xqc_learner import XqcLearner

PLAIN: dict[str, Any] = {"n_step": 1, "mirrored": 0.0, "policy_average": 1}
METHODS = ["sac", "tqc", "crossq", "xqc"]


def learner_of(method: str, **settings: Any) -> OffPolicyLearner | XqcLearner:
    made = make_learner(run_config(**SMALL | PLAIN | settings, method=method), racing())
    assert isinstance(made, OffPolicyLearner | XqcLearner)
    return made


def shown_by(learner: Made) -> Demonstrations:
    shown = learner.demonstrations
    assert shown is not None
    return shown


def plain(seed: int, version: int) -> Batch:
    """A batch whose rewards say whether a policy drove."""
    batch = made_up_batch(seed, version=version)
    return replace(batch, rewards=np.full(20, version, np.float32), off_period=np.zeros(20, bool))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_half_of_each_batch_is_demonstrated_from_the_first_update_to_the_last(method: str) -> None:
    learner = learner_of(method, n_step=1)
    replay = learner.replay
    assert isinstance(replay, PackedReplayBuffer)
    learner.take(plain(1, 0))
    assert (learner.update(5), learner.figures().replay_rows) == (0, 0), "what the policy does is not known yet"
    for seed in range(2, 30):
        assert learner.take(plain(seed, 1)) == 20
        assert learner.update(2) == 2
        assert replay.sample(64).rewards.sum() == 32
    assert (replay.full, shown_by(learner).size()) == (True, 20)
    learner.check()


@pytest.mark.parametrize(("share", "own"), [(0.0, 64), (0.25, 48), (1.0, 0)])
def test_the_share_is_a_setting(share: float, own: int) -> None:
    learner = learner_of("sac", demonstration_share=share)
    for version in (0, 1):
        learner.take(plain(version, version))
    assert learner.replay.sample(64).rewards.sum() == own
    assert learner.update(2) == 2


def test_both_halves_are_mirrored() -> None:
    learner = learner_of("sac", mirrored=0.5)
    for version in (0, 1):
        batch = plain(version, version)
        learner.take(replace(batch, actions=np.full_like(batch.actions, 0.5)))
    found = learner.replay.sample(64)
    steer, driven = found.actions[:, 0].numpy(), found.rewards[:, 0].numpy() == 1
    assert [(np.sum(steer[half] < 0), np.sum(steer[half] > 0)) for half in (driven, ~driven)] == [(16, 16)] * 2


def test_a_drive_that_a_human_takes_over_is_parted() -> None:
    learner = learner_of("sac")
    batch = plain(1, 1)
    batch.policy_versions[5:9] = 0
    batch.off_period[[6, 10]] = True
    assert learner.take(batch) == 15
    assert (learner.replay.size(), shown_by(learner).size()) == (15, 3)
    seen = batch.current_observations()
    held = shown_by(learner).sample(64).observations.numpy()
    assert all(any(np.array_equal(row, seen[step]) for step in (5, 7, 8)) for row in held)


def test_when_there_is_no_more_room_the_first_stay_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    learner = learner_of("sac", buffer_size=50)
    shown = shown_by(learner)
    for seed in range(1, 5):
        learner.take(replace(plain(seed, 0), rewards=np.full(20, seed, np.float32)))
    assert shown.size() == 50
    assert shown.newest(50)[:, shown._reward].tolist() == [1] * 20 + [2] * 20 + [3] * 10
    assert learner.figures().dropped_steps == 30
    assert caplog.text.count("no room for more demonstrations") == 1
    assert caplog.text.count("`demonstration_share` to 0 learns without them") == 1
    again = learner_of("sac", buffer_size=50)
    shown_by(again).restore(shown.saved())
    assert again.memory_digest() == learner.memory_digest()
    again.take(plain(9, 0))
    assert (again.figures().dropped_steps, again.memory_digest()) == (20, learner.memory_digest())
    drawn = shown_by(learner_of("sac", buffer_size=50))
    drawn.restore(shown.saved())
    assert set(drawn.sample(300).rewards.flatten().tolist()) == {1.0, 2.0, 3.0}, "all of them, and at once"
    with pytest.raises(ValueError, match="room for 49"):
        shown_by(learner_of("sac", buffer_size=49)).restore(shown.saved())
    assert shown_by(learner_of("sac", buffer_size=MAX_DEMONSTRATIONS + 1)).buffer_size == MAX_DEMONSTRATIONS


@pytest.mark.parametrize("method", ["sac", "xqc", "dqn"])
def test_what_networks_cannot_take_is_dropped_and_counted(method: str) -> None:
    collector = Collector(moved="discrete" if method == "dqn" else "box")
    learner = toy_learner(method, collector, **SMALL)
    batch = collector.collect(learner, 30, version=0)
    learner.take(replace(batch, observations=np.full_like(batch.observations, np.nan)))
    assert (shown_by(learner).size(), learner.figures().dropped_steps) == (0, 30)
    assert learner.take(batch) == 0
    assert (shown_by(learner).size(), learner.figures().dropped_steps) == (30, 30)


def test_ppo_drops_them_and_images_are_like_the_rest() -> None:
    collector = Collector()
    learner = toy_learner("ppo", collector, **SMALL)
    assert isinstance(learner, PpoLearner)
    learner.restore(learner.state(Counters()), Counters())
    assert learner.take(collector.collect(learner, 30, version=0)) == 0
    assert (learner.figures(), learner.demonstrations) == (learner.figures()._replace(dropped_steps=30), None)
    images = Collector("image", "discrete")
    dqn = toy_learner("dqn", images, **SMALL)
    assert dqn.take(images.collect(dqn, 30, version=0)) == 30
    assert (dqn.figures().replay_rows, dqn.demonstrations) == (30, None)


def distance(learner: Made, batch: Batch) -> float:
    """Mean squared, of what it would do from what was demonstrated."""
    done = learner.act(batch.current_observations(), explore=False)
    return float(np.square(done - batch.actions).mean())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("policy_average", [1, 500])
def test_the_policy_may_begin_as_a_copy_once(method: str, policy_average: int) -> None:
    shown = plain(1, 0)
    # What is demonstrated is full throttle, and some steering by what is seen.
    steer = np.clip(shown.current_observations()[:, :1], -0.9, 0.9)
    shown = replace(shown, actions=np.concatenate([steer, np.ones_like(steer)], 1).astype(np.float32))
    learner = learner_of(
        method, behaviour_cloning_updates=300, network=[32, 32], learning_rate=0.003, policy_average=policy_average
    )
    before = distance(learner, shown)
    learner.take(shown)
    learner.take(plain(2, 1))
    torch.manual_seed(1)
    assert learner.update(1) == 1
    assert distance(learner, shown) < 0.2 * before
    if policy_average > 1:
        policy = racing().policy(learner.policy(2))
        assert float(np.square(policy.act(shown.current_observations()) - shown.actions).mean()) < 0.2 * before
    assert learner.cloning == 0
    learner.check()
    resumed = learner_of(method, behaviour_cloning_updates=300, network=[32, 32], policy_average=policy_average)
    resumed.restore(learner.state(Counters()), Counters(updates=1, steps=40))
    assert resumed.cloning == 0
    unlearned = learner_of(method, behaviour_cloning_updates=300, network=[32, 32], policy_average=policy_average)
    unlearned.restore(learner.state(Counters()), Counters(steps=20))
    assert unlearned.cloning == 300, "nothing was learned before"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="systemd's socket is a Unix one")
def test_a_long_copy_is_not_taken_for_a_trainer_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        learner = learner_of("sac", behaviour_cloning_updates=2 * CLONED_AT_A_STRETCH)
        learner.take(plain(1, 0))
        learner.take(plain(2, 1))
        assert learner.update(1) == 1
        assert [manager.recv(99) for _ in range(2)] == [b"WATCHDOG=1"] * 2

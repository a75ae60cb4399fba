"""What a run can ask for beside the library's algorithm: n-step returns, a mirror, an average."""

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import SAC

from experience.environment import racing
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import ACTION_SIZE, MIRRORED, OBSERVATION_SIZE, Task, on_action_grid
from racing.track import Track
from tests.support.experience import made_up_batch
from tests.support.learners import SMALL, off_policy_learner, replay_of, xqc_learner
from tests.support.runs import run_config
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.returns import returns_of
from train_cloud.trainer.learning.xqc_learner import XqcLearner

GAMMA = 0.9


def learner_of(method: str, **settings: Any) -> OffPolicyLearner | XqcLearner:
    make = xqc_learner if method == "xqc" else off_policy_learner
    return make(run_config(**SMALL, method=method, **settings), racing())


def test_a_window_ends_with_its_run_and_before_a_step_that_is_not_usable() -> None:
    batch = made_up_batch(1, (4, 3))
    batch = replace(
        batch,
        rewards=np.array([1, 2, 3, 4, 10, 20, 30], np.float32),
        terminated=np.array([False, False, False, True, False, False, False]),
        truncated=np.zeros(7, bool),
    )
    found = returns_of(batch, np.array([True] * 5 + [False, True]), 3, GAMMA)
    assert found.last.tolist() == [2, 3, 3, 3, 4, 6, 6]
    assert found.rewards == pytest.approx([1 + 1.8 + 2.43, 2 + 2.7 + 3.24, 3 + 3.6, 4, 10, 20 + 27, 30])
    assert found.done == pytest.approx([1 - GAMMA**2, 1, 1, 1, 0, 1 - GAMMA, 0])
    single = returns_of(batch, np.ones(7, bool), 1, GAMMA)
    assert np.array_equal(single.rewards, batch.rewards)
    assert np.array_equal(single.done, batch.terminated)
    assert single.last.tolist() == list(range(7))


@pytest.mark.parametrize("method", ["sac", "xqc"])
def test_n_steps_are_learned_from_as_one_that_discounts_more(method: str) -> None:
    # At 20 Hz each step counts GAMMA of the one before.
    learner = learner_of(method, n_step=3, horizon_seconds=-1 / (20 * math.log(GAMMA)))
    batch = replace(made_up_batch(2, (6,)), terminated=np.zeros(6, bool), off_period=np.zeros(6, bool))
    learner.take(batch)
    held = replay_of(learner).unpack(replay_of(learner).rows[:6])
    assert np.array_equal(held.next_observations[:4].numpy(), batch.observations[3:7])
    assert held.dones[:4, 0].numpy() == pytest.approx(1 - GAMMA**2)
    assert held.rewards[0, 0].item() == pytest.approx(batch.rewards[:3] @ GAMMA ** np.arange(3), rel=1e-5)


@pytest.mark.slow
def test_what_a_car_does_in_a_mirror_is_what_the_mirror_shows() -> None:
    # The same bends to the other side, driven by the mirrored actions.
    track = Track.generate(7, 1200.0)
    turned = Track(track.centre * [1.0, -1.0], track.width_right, track.width_left, "turned")
    actions = on_action_grid(np.random.default_rng(0).uniform([-0.1, 0.0], [0.1, 0.8], (30, ACTION_SIZE)))
    seen = []
    for circuit, side in ((track, 1.0), (turned, -1.0)):
        driving = VectorDriving(SimulatedCar(circuit, start="line"), Task(circuit))
        rows = [np.concatenate([driving.reset()[0], [0.0, 0.0]])]
        for action in actions:
            applied = on_action_grid(action[None] * [side, 1.0])
            rows.append(np.concatenate([driving.step(applied).next_observation[0], applied[0]]))
        seen.append(np.array(rows))
    places, signs = MIRRORED
    assert seen[0].shape[1] == OBSERVATION_SIZE + ACTION_SIZE
    assert np.abs(seen[0][:, places] * signs - seen[1]).max() < 0.03
    assert np.abs(seen[0] - seen[1]).max() > 0.5


@pytest.mark.parametrize("method", ["sac", "xqc"])
def test_the_asked_share_of_a_sample_is_mirrored_and_the_rest_as_it_was(method: str) -> None:
    plain, learner = (learner_of(method, mirrored=share) for share in (0.0, 0.25))
    for each in (plain, learner):
        each.take(made_up_batch(3, (40,)))
    samples = []
    for each in (plain, learner):
        torch.manual_seed(1)
        samples.append(replay_of(each).sample(16))
    places, signs = MIRRORED
    before = torch.cat([samples[0].observations, samples[0].actions], 1).numpy()
    after = torch.cat([samples[1].observations, samples[1].actions], 1).numpy()
    assert np.array_equal(after[:4], before[:4, places] * signs)
    assert np.array_equal(after[4:], before[4:])
    following, mirrored = (sample.next_observations[:4].numpy() for sample in samples)
    assert np.array_equal(mirrored, following[:, places[:-ACTION_SIZE]] * signs[:-ACTION_SIZE])
    for name in ("rewards", "dones"):
        assert torch.equal(getattr(samples[0], name), getattr(samples[1], name))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sac", "crossq", "xqc"])
def test_the_policy_is_the_average_and_a_resumed_run_goes_on_from_it(method: str) -> None:
    learner, raw, resumed = (learner_of(method, policy_average=50, learning_rate=0.01) for _ in range(3))
    learner.take(made_up_batch(4, (60,)))
    learner.update(10)
    assert learner.average is not None
    raw.average = None
    state = learner.state(Counters())
    for each in (raw, resumed):
        each.restore(state, Counters())
    rows = made_up_batch(5, (20,)).observations
    averaged, again, newest = (racing().policy(each.policy(7)).act(rows) for each in (learner, resumed, raw))
    assert np.array_equal(averaged, again)
    assert np.abs(averaged - newest).max() > 1e-3
    if method == "sac":
        SAC.load(io.BytesIO(state), device="cpu")


@pytest.mark.parametrize("method", ["sac", "xqc"])
def test_with_demonstrations_the_average_spans_as_many_more_updates_as_a_step_asks_for(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"policy_average": 50, "demonstration_updates": 4.0}
    helped, alone = learner_of(method, **settings), learner_of(method, **settings | {"demonstration_updates": 1.0})
    unused = learner_of(method, **settings, demonstration_share=0.0)
    for learner in (helped, alone, unused):
        learner.take(made_up_batch(4, (60,), version=0))
        assert learner.average is not None
        followed: list[float] = []
        monkeypatch.setattr(learner.average, "follow", followed.append)
        learner.take(made_up_batch(5, (60,)))
        learner.update(8)
        assert followed == [2.0 if learner is helped else 8.0]


def test_the_average_follows_with_its_time_constant_however_many_updates_are_made_at_once() -> None:
    learner = off_policy_learner(run_config(**SMALL, policy_average=4), racing())
    average, actor = learner.average, learner.algorithm.actor.get_parameter("mu.weight")
    assert average is not None
    before = actor.detach().clone()
    actor.data.add_(1.0)
    average.follow(3)
    moved = average.module.get_parameter("mu.weight") - before
    assert moved.numpy() == pytest.approx(1 - 0.75**3, abs=1e-5)

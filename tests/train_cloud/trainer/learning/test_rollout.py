"""PPO's rollout is worth what a plain reading of generalized advantage estimation says, whatever batches it came in."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import DiagGaussianDistribution

from experience.batches import Batch
from tests.support.learners import REMOTE
from tests.support.runs import run_config
from tests.support.toys import Collector
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.on_policy import ClippedGaussian, PpoLearner
from train_cloud.trainer.learning.rollout import Run, advantages_of, digest_of_runs, rollout_buffer, runs_of

GAMMA, LAMBDA = 0.9, 0.8
PPO_SETTINGS = {"rollout_steps": 64, "gae_lambda": LAMBDA, "epochs": 2}


def ppo(collector: Collector, **settings: Any) -> PpoLearner:
    config = run_config(
        method="ppo", environment=REMOTE, network=[8], batch_size=32, gamma=GAMMA, ppo=PPO_SETTINGS | settings
    )
    learner = make_learner(config, collector.toys[0].environment)
    assert isinstance(learner, PpoLearner)
    learner.policy(1)
    return learner


def everything(batch: Batch) -> list[Run]:
    return runs_of(batch, np.ones(batch.steps, bool))


def plain(batch: Batch, algorithm: PPO) -> np.ndarray[Any, Any]:
    """By the paper's sum, step by step, of a batch whose every run ends an episode or the rollout."""
    with torch.no_grad():
        value = [
            algorithm.policy.predict_values(torch.as_tensor(rows)).numpy().ravel().astype(np.float64)
            for rows in (batch.current_observations(), batch.next_observations())
        ]
    errors = batch.rewards + GAMMA * value[1] * ~batch.terminated - value[0]
    found, begin = np.empty(batch.steps), 0
    for length in batch.run_lengths:
        for step in range(length):
            left = errors[begin + step : begin + length]
            found[begin + step] = np.sum((GAMMA * LAMBDA) ** np.arange(len(left)) * left)
        begin += length
    return found


def flat(buffer: RolloutBuffer) -> dict[str, np.ndarray[Any, Any]]:
    names = ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns")
    return {name: getattr(buffer, name)[:, 0] for name in names}


def test_a_rollout_is_worth_what_the_paper_says() -> None:
    collector = Collector(count=3)
    learner = ppo(collector)
    batch = collector.collect(learner, 50)
    terminated = batch.truncated.copy()
    terminated[:50] = False
    batch = replace(batch, terminated=terminated, truncated=batch.truncated & ~terminated)
    assert batch.terminated.any()
    assert batch.truncated.any()
    found = flat(rollout_buffer(learner.algorithm, learner.view, everything(batch)))
    assert np.allclose(found["advantages"], plain(batch, learner.algorithm), atol=1e-5)
    assert np.allclose(found["returns"], found["advantages"] + found["values"])
    assert np.array_equal(found["observations"], batch.current_observations())
    assert np.array_equal(found["rewards"], batch.rewards)


def test_probabilities_are_those_of_the_weights_that_acted() -> None:
    collector = Collector(moved="discrete")
    learner = ppo(collector)
    batch = collector.collect(learner, 40)
    found = flat(rollout_buffer(learner.algorithm, learner.view, everything(batch)))
    with torch.no_grad():
        shown = learner.algorithm.policy.get_distribution(torch.as_tensor(batch.current_observations()))
        wanted = shown.log_prob(torch.as_tensor(batch.actions[:, 0] + 1))
    assert np.allclose(found["log_probs"], wanted.numpy(), atol=1e-6)
    assert set(found["actions"].ravel()) <= {0, 1, 2}, "stable-baselines3 counts from 0"


@pytest.mark.parametrize("seen", ["vector", "dict"])
def test_it_does_not_matter_into_how_many_batches_the_steps_were_cut(seen: str) -> None:
    at_once, in_pieces = Collector(seen, count=2), Collector(seen, count=2)
    learner = ppo(at_once)

    def collected(collector: Collector, pieces: list[int]) -> RolloutBuffer:
        torch.manual_seed(3)
        batches = [collector.collect(learner, steps) for steps in pieces]
        runs = [run for batch in batches for run in everything(batch)]
        return rollout_buffer(learner.algorithm, learner.view, runs)

    whole, cut = collected(at_once, [30]), collected(in_pieces, [7, 1, 12, 10])
    assert np.allclose(np.sort(whole.advantages[:, 0]), np.sort(cut.advantages[:, 0]), atol=1e-5)
    assert np.allclose(np.sort(whole.log_probs[:, 0]), np.sort(cut.log_probs[:, 0]), atol=1e-5)


def test_what_another_car_did_is_no_continuation() -> None:
    rows = np.zeros((3, 1), np.float32)
    one = Run(0, 0, rows, rows[:2], np.ones(2, np.float32), terminated=False, ended=False)
    alone = advantages_of([one], [np.zeros(3, np.float32)], GAMMA, LAMBDA)
    for change in ({"car": 1}, {"first_step": 3}, {"rows": rows + 1}):
        other = replace(replace(one, first_step=2), **change)
        assert np.allclose(advantages_of([one, other], [np.zeros(3, np.float32)] * 2, GAMMA, LAMBDA)[:2], alone)
    on = advantages_of([one, replace(one, first_step=2)], [np.zeros(3, np.float32)] * 2, GAMMA, LAMBDA)
    assert on[0] == pytest.approx(sum((GAMMA * LAMBDA) ** step for step in range(4)))
    # Of two bridges, whose cars have the same number, in turn.
    other = replace(one, rows=rows + 1)
    both = [one, other, replace(one, first_step=2), replace(other, first_step=2)]
    assert np.allclose(advantages_of(both, [np.zeros(3, np.float32)] * 4, GAMMA, LAMBDA)[[0, 2]], on[0])
    ended = replace(one, ended=True)
    assert np.allclose(
        advantages_of([ended, replace(one, first_step=2)], [np.zeros(3, np.float32)] * 2, GAMMA, LAMBDA)[:2], alone
    )


def test_steps_that_are_left_out_part_a_run() -> None:
    collector = Collector()
    batch = collector.collect(ppo(collector), 10)
    wanted = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1, 1], bool)
    runs = runs_of(batch, wanted)
    assert [(run.first_step, run.steps) for run in runs] == [(0, 2), (3, 3), (8, 2)]
    for run in runs:
        begin = run.first_step
        assert np.array_equal(run.rows, batch.observations[begin : begin + run.steps + 1])
        assert np.array_equal(run.rewards, batch.rewards[begin : begin + run.steps])
    assert len({digest_of_runs(runs), digest_of_runs(runs[:2]), digest_of_runs([])}) == 3


def test_only_steps_of_the_policy_in_force_are_learned_from_and_the_others_are_counted() -> None:
    collector = Collector()
    learner = ppo(collector)
    late = replace(collector.collect(learner, 10, version=1), off_period=np.arange(10) < 4)
    for batch in (collector.collect(learner, 20, version=0), late, collector.collect(learner, 5, version=2)):
        learner.take(batch)
    assert learner.figures()[1:] == (6, 25)
    learner.policy(2)
    learner.take(collector.collect(learner, 5, version=2))
    assert learner.figures()[1:] == (11, 25), "published again, with the same weights"
    assert learner.update(100) == 0
    learner.take(collector.collect(learner, 53, version=2))
    assert learner.update(1) == 2 * 2, "two passes over 64 steps, 32 at a time"
    assert learner.figures().replay_rows == 0
    learner.take(collector.collect(learner, 64, version=2))
    assert learner.figures().replay_rows == 0, "the weights have changed since"
    learner.policy(3)
    learner.take(collector.collect(learner, 64, version=3))
    learner.take(collector.collect(learner, 64, version=3))
    assert learner.figures()[1:] == (64, 25 + 64 + 64), "a full rollout takes no more"


def test_a_rollout_that_the_end_of_the_run_leaves_unfinished_is_dropped() -> None:
    collector = Collector()
    config = run_config(
        method="ppo", environment=REMOTE, network=[8], batch_size=32, total_timesteps=100, ppo=PPO_SETTINGS
    )
    learner = make_learner(config, collector.toys[0].environment)
    assert isinstance(learner, PpoLearner)
    learner.policy(1)
    learner.take(collector.collect(learner, 64))
    assert learner.update(4) > 0
    learner.policy(2)
    learner.take(collector.collect(learner, 35, version=2))
    assert learner.update(1) == 0
    learner.take(collector.collect(learner, 1, version=2))
    weight = learner.algorithm.policy.get_parameter("action_net.weight")
    before = weight.clone()
    assert learner.update(1) == 0
    assert learner.figures()[1:] == (0, 36)
    assert torch.equal(weight, before), "nothing is learned from so little"


def test_a_bound_is_as_likely_as_all_that_lies_beyond_it() -> None:
    space = spaces.Box(np.array([-2.0, -1.0], np.float32), np.array([2.0, 1.0], np.float32))
    mean, log_std = torch.tensor([[1.0, 0.2]]), torch.tensor([0.5, -1.0])
    ours, theirs = ClippedGaussian(space), DiagGaussianDistribution(2)
    ours.proba_distribution(mean, log_std)
    theirs.proba_distribution(mean, log_std)
    inside = torch.tensor([[0.3, -0.4]])
    likely: torch.Tensor = theirs.log_prob(inside)
    assert torch.allclose(ours.log_prob(inside), likely)
    drawn = torch.normal(mean.expand(200_000, 2), log_std.exp().expand(200_000, 2), generator=torch.manual_seed(1))
    for bound, beyond in ((2.0, drawn[:, 0] >= 2.0), (-2.0, drawn[:, 0] <= -2.0)):
        of_other = -0.5 * np.log(2 * np.pi) + 1.0
        share = (ours.log_prob(torch.tensor([[bound, 0.2]])) - of_other).exp()
        assert float(share) == pytest.approx(float(beyond.float().mean()), abs=0.003)
    far = torch.tensor([[-500.0, 0.0]], requires_grad=True)
    ours.proba_distribution(far, log_std)
    ours.log_prob(torch.tensor([[2.0, 0.0]])).sum().backward()  # type: ignore[no-untyped-call]  # of torch
    assert far.grad is not None
    assert torch.isfinite(far.grad).all()

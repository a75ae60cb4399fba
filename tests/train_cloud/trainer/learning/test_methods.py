"""Every method learns toys, goes on exactly from what it saved, and saves what others can open."""

import io

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

from tests.support.learners import SMALL, Made, toy_learner
from tests.support.toys import Collector
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.off_policy import DqnLearner
from train_cloud.trainer.learning.xqc_learner import XqcLearner

KINDS = {"sac": SAC, "dqn": DQN, "ppo": PPO}


def live(taker: Learner, collector: Collector, steps: int, version: int = 1, updates: int = 64) -> int:
    """Act, take in and update, with a new version after each update; returns the newest."""
    for _ in range(0, steps, 64 * len(collector.toys)):
        taker.take(collector.collect(taker, 64, version))
        if taker.update(updates):
            version += 1
            taker.policy(version)
    taker.check()
    return version


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "seen", "moved", "steps", "wanted"),
    [
        ("sac", "vector", "box", 1_536, -2.5),
        ("xqc", "vector", "box", 1_536, -2.5),
        ("ppo", "vector", "box", 6_144, -2.5),
        ("ppo", "cells", "many", 6_144, -4.5),
        ("dqn", "vector", "discrete", 2_048, -3.0),
        ("dqn", "cells", "discrete", 2_048, -3.5),
    ],
)
def test_a_toy_is_learned_within_seconds(method: str, seen: str, moved: str, steps: int, wanted: float) -> None:
    collector = Collector(seen, moved, count=2)
    taker = toy_learner(method, collector, steps)
    live(taker, collector, steps)
    before, shown = np.mean(collector.returns[:10]), Collector(seen, moved, count=4)
    shown.collect(taker, 100, explore=False)
    assert before < -5.0, "nobody can do it from the start"
    assert np.mean(shown.returns) > wanted


def parameters(taker: Made) -> dict[str, torch.Tensor]:
    networks = taker.networks if isinstance(taker, XqcLearner) else taker.algorithm.policy
    return {name: tensor.clone() for name, tensor in networks.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


CASES = [
    ("sac", "vector", "box"),
    ("dqn", "vector", "discrete"),
    ("ppo", "vector", "box"),
    ("ppo", "cells", "many"),
    ("dqn", "image", "discrete"),
    ("ppo", "image", "discrete"),
    ("sac", "dict", "box"),
    ("ppo", "dict", "box"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "seen", "moved"), [*CASES, ("xqc", "vector", "box")])
def test_a_resumed_learner_makes_the_same_updates(method: str, seen: str, moved: str) -> None:
    collector = Collector(seen, moved, count=2)
    lived = toy_learner(method, collector, **SMALL)
    made = 0
    kept = []
    for version in (1, 2):
        kept.append(collector.collect(lived, 32, version))
        lived.take(kept[-1])
        # A human takes over for a while.
        kept.append(collector.collect(lived, 8, 0))
        lived.take(kept[-1])
        made += lived.update(4)
        lived.policy(version + 1)
    # What PPO has of its next rollout is part of what is remembered.
    kept.append(collector.collect(lived, 16, 3))
    lived.take(kept[-1])
    counters = Counters(steps=192, demonstrations=32, updates=made, weights_version=3)
    state, digest = lived.state(counters), lived.memory_digest()
    resumed = toy_learner(method, collector, **SMALL | {"seed": 7})
    assert not same(parameters(resumed), parameters(lived))
    resumed.restore(state, counters)
    assert same(parameters(resumed), parameters(lived))
    resumed.policy(4)
    lived.policy(4)
    if lived.demonstrations is not None:
        assert resumed.demonstrations is not None
        resumed.demonstrations.restore(lived.demonstrations.saved())
        assert resumed.demonstrations.size() == 32
    for batch in kept:
        resumed.take(batch, False)
    assert resumed.memory_digest() == digest
    assert resumed.figures().replay_rows == lived.figures().replay_rows
    began, more = parameters(lived), collector.collect(lived, 32, 4)
    ends = []
    for taker in (lived, resumed):
        torch.manual_seed(11)
        np.random.seed(11)
        taker.take(more)
        ends.append((taker.update(4), taker.act(collector.seen, True).tolist(), taker.figures().replay_rows))
    assert ends[0] == ends[1]
    assert ends[0][0] > 0
    assert same(parameters(resumed), parameters(lived))
    assert not same(parameters(lived), began)


@pytest.mark.parametrize(("method", "seen", "moved"), CASES)
def test_plain_stable_baselines3_opens_what_is_saved(
    method: str, seen: str, moved: str, recwarn: pytest.WarningsRecorder
) -> None:
    collector = Collector(seen, moved)
    taker = toy_learner(method, collector, **SMALL)
    assert not isinstance(taker, XqcLearner)
    opened: BaseAlgorithm = KINDS[method].load(io.BytesIO(taker.state(Counters(steps=5))), device="cpu")  # type: ignore[attr-defined]  # each of KINDS has it
    assert not [str(one.message) for one in recwarn if "deserialize" in str(one.message)]
    assert opened.num_timesteps == 5
    assert type(opened).__module__.startswith("stable_baselines3.")
    view = taker.view
    theirs, _ = opened.predict(view.observed(collector.seen), deterministic=True)
    assert np.allclose(view.done(theirs), taker.act(collector.seen, explore=False), atol=1e-6)


def test_actions_have_the_shape_and_dtype_of_the_environments() -> None:
    for method, seen, moved in [*CASES, ("xqc", "vector", "box")]:
        collector = Collector(seen, moved, count=3)
        taker = toy_learner(method, collector, **SMALL)
        for explore in (True, False):
            actions = taker.act(collector.seen, explore)
            space = collector.toys[0].action_space
            assert actions.shape == (3, *(space.shape or ()))
            assert all(space.contains(action) for action in actions), (method, seen, moved, actions)


def target_of(taker: DqnLearner) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in taker.algorithm.q_net_target.parameters()]).clone()


def test_the_target_of_dqn_follows_by_steps_taken_in_and_its_exploration_too() -> None:
    collector = Collector(moved="discrete")
    settings = SMALL | {"dqn": {"target_update_interval": 30, "exploration_fraction": 0.5, "final_epsilon": 0.1}}
    taker = toy_learner("dqn", collector, steps=1_000, **settings)
    assert isinstance(taker, DqnLearner)
    lived, followed = [], []
    for step in range(1, 100):
        before = target_of(taker)
        lived.append(collector.collect(taker, 1))
        taker.take(lived[-1])
        if not torch.equal(target_of(taker), before):
            followed.append(step)
        assert taker.algorithm.exploration_rate == pytest.approx(1.0 - 0.9 * step / 500)
        assert taker.update(1 + step % 3)
        assert torch.equal(target_of(taker), before) != (step in followed), "updates alone leave it as it is"
    assert followed == [30, 60, 90]
    resumed, counters = toy_learner("dqn", collector, steps=1_000, **settings), Counters(steps=99)
    assert isinstance(resumed, DqnLearner)
    resumed.restore(taker.state(counters), counters)
    for batch in lived:
        resumed.take(batch, False)
    assert torch.equal(target_of(resumed), target_of(taker)), "what was counted before is remembered, and no more"
    resumed.take(collector.collect(resumed, 20))
    assert torch.equal(target_of(resumed), target_of(taker))
    resumed.take(collector.collect(resumed, 1))
    assert not torch.equal(target_of(resumed), target_of(taker)), "the 120th step"
    resumed.take(collector.collect(resumed, 600))
    assert resumed.algorithm.exploration_rate == pytest.approx(0.1)


def test_demonstrations_are_no_steps_of_dqns_exploration_before_a_checkpoint_and_after() -> None:
    collector = Collector(moved="discrete")
    settings = SMALL | {"dqn": {"exploration_fraction": 0.5, "final_epsilon": 0.1}}
    taker, resumed = (toy_learner("dqn", collector, steps=1_000, **settings) for _ in range(2))
    assert isinstance(taker, DqnLearner)
    assert isinstance(resumed, DqnLearner)
    taker.take(collector.collect(taker, 300, version=0))
    taker.take(collector.collect(taker, 99))
    counters = Counters(steps=399, demonstrations=300)
    resumed.restore(taker.state(counters), counters)
    assert resumed.algorithm.exploration_rate == pytest.approx(1.0 - 0.9 * 99 / 500)
    for one in (taker, resumed):
        one.take(collector.collect(one, 1))
        assert one.algorithm.exploration_rate == pytest.approx(1.0 - 0.9 * 100 / 500)


def test_dqn_explores_each_observation_by_itself() -> None:
    collector = Collector(moved="discrete", count=400)
    taker = toy_learner("dqn", collector, **SMALL)
    assert isinstance(taker, DqnLearner)
    taker.algorithm.exploration_rate = 0.5
    best, explored = (taker.act(collector.seen, explore) for explore in (False, True))
    # A third of those that were drawn are the best by chance.
    assert 0.2 < (best != explored).mean() < 0.47

"""What a learner makes of an environment's spaces, what it gives to a PC, and the sentences with which it refuses."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from safetensors.torch import load
from stable_baselines3.common.policies import ActorCriticPolicy

from experience.environment import Environment, racing
from experience.rows import from_rows, to_rows
from experience.spaces import Spaces, SpaceSpec
from racing.policy import Policy
from tests.support.experience import made_up_batch
from tests.support.learners import REMOTE, SMALL, toy_learner
from tests.support.runs import boxes, run_config
from tests.support.toys import Collector
from train_cloud.run_config import ConfigError
from train_cloud.trainer.learning.export import STATE_FORMAT, ExportError
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.on_policy import PpoLearner
from train_cloud.trainer.learning.views import View


def test_what_local_weights_cannot_do_is_a_file_of_tensors() -> None:
    collector = Collector("dict")
    taker = toy_learner("ppo", collector, **SMALL)
    assert isinstance(taker, PpoLearner)
    data = taker.policy(17)
    tensors = load(data)
    (length,) = np.frombuffer(data[:8], "<u8")
    metadata = json.loads(data[8 : 8 + int(length)])["__metadata__"]
    signature = collector.toys[0].environment.signature
    told = [metadata[name] for name in ("format", "version", "signature", "method")]
    assert told == [STATE_FORMAT, "17", signature, "PPO"]
    tensors |= {name: tensors[first] for name, first in json.loads(metadata["same"]).items()}
    other = toy_learner("ppo", collector, **SMALL | {"seed": 9})
    assert isinstance(other, PpoLearner)
    policy: ActorCriticPolicy = other.algorithm.policy
    policy.load_state_dict(tensors, strict=True)
    assert np.array_equal(other.act(collector.seen, False), taker.act(collector.seen, False))
    with torch.no_grad():
        taker.algorithm.policy.get_parameter("value_net.weight")[0, 0] = float("inf")
    with pytest.raises(ExportError, match="diverged"):
        taker.policy(18)


def test_what_local_weights_can_do_drives_a_pc() -> None:
    for method, moved in (("ppo", "box"), ("ppo", "discrete"), ("dqn", "discrete"), ("sac", "box")):
        collector = Collector(moved=moved, count=50)
        taker = toy_learner(method, collector, **SMALL | {"environment": REMOTE | {"source": "bridge"}})
        environment = collector.toys[0].environment
        policy: Policy = environment.policy(taker.policy(3))
        ours, theirs = policy.act(collector.seen), taker.act(collector.seen, False)
        assert np.allclose(ours.reshape(theirs.shape), theirs, atol=2e-3)


@pytest.mark.parametrize(
    ("seen", "moved"), [("image", "discrete"), ("dict", "box"), ("cells", "box"), ("vector", "many")]
)
def test_a_bridge_is_refused_what_its_weights_cannot_do(seen: str, moved: str) -> None:
    with pytest.raises(ConfigError, match='to "remote", and serve the environment by `ac-bridge serve-env`'):
        toy_learner("ppo", Collector(seen, moved), environment=REMOTE | {"source": "bridge"})


def test_numbers_of_any_dtype_are_numbers_on_a_pc() -> None:
    doubles = of(spaces.Box(-np.inf, np.inf, (2, 3), np.float64), TWO)
    taker = make_learner(run_config(method="ppo", network=[8]), doubles)
    assert doubles.policy(taker.policy(1)).observation_size == 6


def test_racing_by_ppo_is_what_a_pc_drives() -> None:
    taker = make_learner(run_config(method="ppo", network=[8]), racing())
    assert racing().policy(taker.policy(1)).version == 1


def of(observation: spaces.Space[Any], action: spaces.Space[Any]) -> Environment:
    return Environment("toys/Odd-v0", Spaces(SpaceSpec(observation), SpaceSpec(action)))


LINE, TWO = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(2)


@pytest.mark.parametrize(
    ("method", "observation", "action", "told"),
    [
        ("sac", LINE, TWO, "'sac', which needs continuous actions"),
        ("dqn", LINE, LINE, "'dqn', which needs one choice of several"),
        ("ppo", LINE, spaces.Tuple([TWO, TWO]), "no method here chooses several things at once"),
        ("ppo", LINE, spaces.Box(-np.inf, np.inf, (1,)), "without bounds"),
        ("crossq", spaces.Dict({"a": LINE}), LINE, "no networks for images or dictionaries"),
        ("ppo", LINE, spaces.Discrete(2**62), "An action of the environment is one of 4611686018427387904 choices"),
        ("dqn", spaces.Discrete(10**9), TWO, "An observation of the environment is one of 1000000000 choices"),
        ("ppo", spaces.Dict({"a": spaces.MultiDiscrete([2**62, 2**62])}), TWO, "An observation of the environment"),
        ("sac", LINE, spaces.Box(-1.0, 1.0, (2**16,)), "so many transitions of this environment take"),
    ],
)
def test_a_method_that_cannot_act_there_is_refused_in_a_sentence(
    method: str, observation: spaces.Space[Any], action: spaces.Space[Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        make_learner(run_config(method=method, environment=REMOTE), of(observation, action))


def test_an_observation_without_a_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="are not of one size"):
        make_learner(run_config(method="dqn", environment=REMOTE), of(spaces.Sequence(LINE), TWO))


def test_a_replay_buffer_beyond_the_memory_is_refused_before_it_is_made() -> None:
    images = of(spaces.Box(0, 255, (96, 96, 3), np.uint8), TWO)
    with pytest.raises(ConfigError, match=r"`buffer_size` has the value 100000000: .* can hold at most \d+"):
        make_learner(run_config(method="dqn", environment=REMOTE, buffer_size=100_000_000), images)
    taker = make_learner(run_config(method="dqn", environment=REMOTE, buffer_size=1_000), images)
    assert taker.remembers == 1_000


def test_numbers_that_no_network_can_take_are_not_learned_from() -> None:
    collector = Collector("dict", "discrete")
    for method in ("dqn", "ppo"):
        taker = toy_learner(method, collector, **SMALL)
        batch = collector.collect(taker, 10)
        space = collector.spaces.observation.space
        values = from_rows(space, batch.observations)
        values["at"][3] = np.nan
        for wrong in (replace(batch, observations=to_rows(space, values)), replace(batch, actions=batch.actions + 7)):
            before = taker.figures()
            taker.take(wrong)
            assert taker.figures()[1:] == (before.replay_rows, before.dropped_steps + 10)
        taker.take(batch)
        assert taker.figures().replay_rows == 10


def test_all_of_racings_methods_take_racings_batches() -> None:
    for method in ("sac", "tqc", "crossq", "ppo"):
        taker = make_learner(
            run_config(method=method, network=[8], batch_size=8, buffer_size=100, ppo={"rollout_steps": 16}), racing()
        )
        taker.policy(1)
        taker.take(made_up_batch(1, late_share=0.1))
        assert taker.update(1) >= 1
        taker.check()
        assert taker.figures().losses


def test_what_is_seen_is_what_was_shown() -> None:
    toy = Collector("dict", "discrete", count=3)
    toy.collect(toy_learner("ppo", toy, **SMALL), 5)
    shown, view = toy.seen, View(toy.spaces)
    # torch's dictionaries of modules have keys of their own.
    assert list(view.spaces.observation.space) == ["at", "camera/front", "part 2"]  # type: ignore[call-overload]  # a Dict space, which is one of several
    seen = view.observed(shown)
    assert np.array_equal(seen["at"], shown["at"])
    assert np.array_equal(seen["camera/front"], shown["camera"]["front"].transpose(0, 3, 1, 2))
    assert np.array_equal(seen["part 2"], shown["keys"])
    rows = to_rows(toy.spaces.observation.space, shown)
    assert all(np.array_equal(value, seen[key]) for key, value in view.observed_rows(rows).items())
    small = View(of(spaces.Box(0, 255, (4, 5), np.uint8), TWO).spaces)
    assert np.allclose(small.observed(np.full((2, 4, 5), 51, np.uint8)), np.full((2, 20), 0.2))
    assert (view.policy, small.policy) == ("MultiInputPolicy", "MlpPolicy")


def test_choices_are_counted_from_0_and_come_back_as_the_environment_counts_them() -> None:
    for action in (
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([3, 2], start=[1, -1]),
        spaces.MultiDiscrete(np.array([[3, 2], [4, 5]]), dtype=np.int32),
        spaces.MultiBinary(3),
        spaces.Box(-3, 3, (2,), np.int16),
        spaces.Box(-3.0, 3.0, (2, 2), np.float64),
    ):
        view = View(of(LINE, action).spaces)
        taken = batch_space(action, 4).sample()
        rows = to_rows(action, taken)
        chosen = view.chosen(rows)
        assert all(view.spaces.action.space.contains(row.reshape(view.spaces.action.space.shape)) for row in chosen)
        done = view.done(chosen)
        assert np.array_equal(done, taken)
        assert done.dtype == action.dtype
        assert done.shape == (4, *(action.shape or ()))


def test_spaces_of_the_same_size_are_learned_from_alike() -> None:
    """A shape that the library does not know is what is in it."""
    shapes: Sequence[spaces.Space[Any]] = (
        spaces.Box(-8.0, 8.0, (4, 2), np.float64),
        spaces.Tuple([boxes(4, 1).observation.space, boxes(4, 1).observation.space]),
        spaces.Box(-8, 8, (2, 2, 2), np.int16),
        spaces.Box(-8.0, 8.0, (), np.float32),
        spaces.MultiDiscrete(np.array([[3, 2], [4, 5]])),
        spaces.MultiBinary([2, 3]),
        spaces.Box(0, 255, (8, 8), np.uint8),
        spaces.Box(0, 255, (40, 36), np.uint8),
        spaces.Box(0, 255, (3, 36, 36), np.uint8),
    )
    for observation in shapes:
        environment = of(observation, TWO)
        taker = make_learner(run_config(method="dqn", environment=REMOTE, **SMALL | {"buffer_size": 50}), environment)
        assert taker.act(batch_space(observation, 3).sample(), True).shape == (3,)

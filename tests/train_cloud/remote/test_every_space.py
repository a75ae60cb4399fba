"""Every space and its samples come through a remote environment to the type and the bit, alone and in vectors."""

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import Space
from gymnasium import spaces as gym
from gymnasium.vector import SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experience.spaces import space_text
from tests.experience.test_spaces import EVERY_KIND
from tests.experience.test_values import VALUES, same
from tests.support.any_space import SAMPLED_SPACE
from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.toy_envs import LENGTH, SPACES, TAKEN, Echo
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv

ECHO = "tests.support.toy_envs:Echo"


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([ECHO], tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def echo(pc: RemotePc) -> Iterator[RemoteEnv]:
    """One whose infos are the options and the actions, whatever they are, and whose rewards the options may hold."""
    SPACES["any"] = gym.Discrete(2)
    env = RemoteEnv(pc.calls, ECHO, outside="pass", kwargs={"key": "any"})
    yield env
    env.close()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SAMPLED_SPACE, st.integers(0, 2**31 - 1))
def test_space_and_samples_are_exact_over_the_way_there_and_back(pc: RemotePc, space: Space[Any], seed: int) -> None:
    key = secrets.token_hex(8)
    SPACES[key] = space
    try:
        env, own = RemoteEnv(pc.calls, ECHO, outside="refuse", kwargs={"key": key}), Echo(key)
        assert space_text(env.observation_space) == space_text(env.action_space) == space_text(space)
        assert same(list(env.reset(seed=seed)), list(own.reset(seed=seed)))
        space.seed(seed)
        for _ in range(3):
            action = space.sample()
            answer, own_answer = env.step(action), own.step(action)
            assert same(answer, own_answer)
            (taken, own_taken), TAKEN[key] = TAKEN[key], []
            assert same(taken, own_taken)
        env.close()
    finally:
        del SPACES[key]
        TAKEN.pop(key, None)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("space", EVERY_KIND, ids=lambda space: f"{type(space).__name__}-{space.shape}")
def test_a_vector_of_any_space_steps_as_gymnasiums_own(pc: RemotePc, space: Space[Any], mode: str) -> None:
    key = secrets.token_hex(8)
    SPACES[key] = space
    remote = RemoteVectorEnv(pc.calls, ECHO, 3, autoreset_mode=mode, kwargs={"key": key})
    own = SyncVectorEnv([lambda: Echo(key)] * 3, autoreset_mode=remote.metadata["autoreset_mode"])
    assert (remote.observation_space, remote.action_space) == (own.observation_space, own.action_space)
    assert same(list(remote.reset(seed=1)), list(own.reset(seed=1)))
    own.action_space.seed(2)
    for _ in range(2 * LENGTH):
        actions = own.action_space.sample()
        assert same(remote.step(actions), own.step(actions))
    remote.close()


@settings(deadline=None)
@given(VALUES)
def test_options_and_infos_are_exact_over_the_way_there_and_back(echo: RemoteEnv, value: Any) -> None:
    assert same(echo.reset(options={"value": value})[1], {"options": {"value": value}})
    assert same(echo.step(value)[4], {"action": [value]})


@settings(deadline=None)
@given(st.one_of(st.floats(), st.floats(width=32).map(np.float32), st.floats().map(np.float64)))
def test_a_reward_is_exact_in_its_own_kind(echo: RemoteEnv, reward: Any) -> None:
    echo.reset(options={"reward": reward})
    assert same(echo.step(0)[1], reward)

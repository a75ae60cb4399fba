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
from hypothesis.extra import numpy as hnp

from experience.spaces import space_text
from tests.experience.test_spaces import EVERY_KIND
from tests.experience.test_values import VALUES, same
from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.toy_envs import LENGTH, SPACES, TAKEN, Echo
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv

ECHO = "tests.support.toy_envs:Echo"
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([ECHO], tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(scope="module")
def echo(pc: RemotePc) -> Iterator[RemoteEnv]:
    """One whose infos of a reset are the options, and whose rewards they may hold."""
    SPACES["any"] = gym.Discrete(2)
    env = RemoteEnv(pc.calls, ECHO, kwargs={"key": "any"})
    yield env
    env.close()


@st.composite
def boxes(draw: st.DrawFn) -> gym.Box:
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "u1", "u2", "u4", "i1", "i2", "i4", "i8"])))
    if dtype.kind == "f":
        numbers: Any = st.floats(-1000.0, 1000.0, width=16)
        limits = st.one_of(numbers, st.sampled_from([-np.inf, np.inf]))
    else:
        limits = numbers = st.integers(max(np.iinfo(dtype).min, -(2**40)), min(np.iinfo(dtype).max, 2**40))
    shape = draw(SHAPES)
    one, other = (draw(hnp.arrays(dtype, shape, elements=limits)) for _ in range(2))
    # No number lies between two infinities of one sign.
    same_sign = np.isinf(one) & (one == other)
    one, other = np.where(same_sign, 0, one).astype(dtype), np.where(same_sign, 1, other).astype(dtype)
    return gym.Box(np.minimum(one, other), np.maximum(one, other), shape, dtype.type)


@st.composite
def multi_discretes(draw: st.DrawFn) -> gym.MultiDiscrete:
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(["i4", "i8", "u1"])))
    shape = draw(hnp.array_shapes(max_dims=2, max_side=3))
    counts = draw(hnp.arrays(dtype, shape, elements=st.integers(1, 9)))
    starts = draw(hnp.arrays(dtype, shape, elements=st.integers(0 if dtype.kind == "u" else -9, 9)))
    return gym.MultiDiscrete(counts, dtype=dtype.type, start=starts)


DISCRETES = st.builds(
    gym.Discrete, st.integers(1, 9), start=st.integers(-9, 9), dtype=st.sampled_from([np.int64, np.int32, np.int8])
)
# A sample that ends with NUL is none of its own space: Gymnasium draws it by NumPy, which drops that.
CHARSETS = TEXTS.map(lambda text: text.replace("\0", "0"))
TEXT_SPACES = st.builds(lambda extra, least, chars: gym.Text(least + extra, min_length=least, charset=chars),
                        st.integers(1, 9), st.integers(0, 5), CHARSETS)  # fmt: skip
LEAVES: st.SearchStrategy[Space[Any]] = st.one_of(
    boxes(),
    DISCRETES,
    st.builds(gym.MultiBinary, st.one_of(st.integers(1, 9), st.lists(st.integers(1, 3), min_size=1, max_size=3))),
    multi_discretes(),
    TEXT_SPACES,
    st.builds(gym.Graph, st.one_of(boxes(), DISCRETES), st.one_of(st.none(), boxes(), DISCRETES)),
    st.builds(lambda space: gym.Sequence(space, stack=True), st.one_of(boxes(), DISCRETES)),
)
ANY_SPACE = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(gym.Tuple),
        st.lists(inner, min_size=1, max_size=3).map(gym.OneOf),
        st.dictionaries(TEXTS, inner, min_size=1, max_size=3).map(lambda parts: gym.Dict(list(parts.items()))),
        inner.map(gym.Sequence),
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ANY_SPACE, st.integers(0, 2**31 - 1))
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


@settings(deadline=None)
@given(st.one_of(st.floats(), st.floats(width=32).map(np.float32), st.floats().map(np.float64)))
def test_a_reward_is_exact_in_its_own_kind(echo: RemoteEnv, reward: Any) -> None:
    echo.reset(options={"reward": reward})
    assert same(echo.step(0)[1], reward)

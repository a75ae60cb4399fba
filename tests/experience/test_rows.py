"""Rows hold the values of any space of fixed size, exact to the bit both ways."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym
from gymnasium.vector.utils import batch_space, iterate
from hypothesis import given
from hypothesis import strategies as st

from experience.batches import DTYPES
from experience.rows import from_rows, to_rows
from experience.spaces import Spaces, SpacesError, SpaceSpec

SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def box(shape: tuple[int, ...], dtype: str) -> gym.Box:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return gym.Box(-np.inf, np.inf, shape, kind.type)
    limits = np.iinfo(kind)
    return gym.Box(limits.min, limits.max, shape, kind.type)


LEAVES = st.one_of(
    st.builds(box, SHAPES, st.sampled_from(DTYPES)),
    st.builds(lambda n, start: gym.Discrete(n, start=start), st.integers(1, 9), st.integers(-5, 5)),
    st.builds(gym.MultiBinary, st.integers(1, 4)),
    st.builds(gym.MultiDiscrete, st.lists(st.integers(1, 9), min_size=1, max_size=3)),
)


def nest(inner: st.SearchStrategy[gym.Space[Any]]) -> st.SearchStrategy[gym.Space[Any]]:
    some = st.lists(inner, min_size=1, max_size=3)
    keyed = st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    return st.one_of(some.map(gym.Tuple), keyed.map(lambda parts: gym.Dict(list(parts.items()), sort_keys=False)))


SPACES = st.recursive(LEAVES, nest, max_leaves=6)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def scrambled(value: Any, rng: np.random.Generator) -> Any:
    """The same structure with every bit pattern in its floats, NaNs among them."""
    if isinstance(value, dict):
        return {key: scrambled(inner, rng) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(scrambled(inner, rng) for inner in value)
    if value.dtype.kind != "f":
        return value
    return (
        np.frombuffer(rng.bytes(max(1, value.nbytes)), np.uint8)[: value.nbytes].view(value.dtype).reshape(value.shape)
    )


@pytest.mark.slow
@given(SPACES, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_values_are_exact_both_ways(space: gym.Space[Any], count: int, seed: int) -> None:
    batched = batch_space(space, count)
    batched.seed(seed)
    values = scrambled(batched.sample(), np.random.default_rng(seed))
    try:
        column = SpaceSpec(space).column
    except SpacesError:
        assert to_rows(space, values).shape == (count, 0), "only what holds nothing has no column"
        return
    rows = to_rows(space, values)
    assert rows.shape == (count, column.size)
    assert rows.dtype == column.dtype
    found = from_rows(space, rows)
    assert same(found, values)
    assert to_rows(space, found).tobytes() == rows.tobytes()


def test_a_row_is_one_value_of_the_environment() -> None:
    space = gym.Dict({"image": gym.Box(0, 255, (2, 2, 3), np.uint8), "speed": gym.Box(-1.0, 1.0, (1,), np.float64)})
    values = batch_space(space, 5).sample()
    rows = to_rows(space, values)
    for one, row in zip(iterate(batch_space(space, 5), values), rows, strict=True):
        found = from_rows(space, row[None])
        assert np.array_equal(found["image"][0], one["image"])
        assert np.array_equal(found["speed"][0], one["speed"])


def test_what_has_no_fixed_size_has_no_rows() -> None:
    with pytest.raises(SpacesError, match="Sequence space are not of one size"):
        to_rows(gym.Tuple([gym.Sequence(gym.Discrete(2))]), (((),),))


def test_a_nested_space_has_a_layout_that_its_text_tells() -> None:
    space = gym.Dict([("z", gym.Discrete(2)), ("a", gym.Box(0.0, 1.0, (3,)))], sort_keys=False)
    spaces = Spaces(SpaceSpec(space), SpaceSpec(gym.Discrete(2)))
    again = Spaces.parse(spaces.text)
    assert again.layout == spaces.layout
    rows = to_rows(space, {"z": np.array([1]), "a": np.ones((1, 3), np.float32)})
    assert same(from_rows(again.observation.space, rows), from_rows(space, rows))


def test_no_rows_are_rows_as_well() -> None:
    for space in (gym.Discrete(3), gym.Box(0.0, 1.0, (2, 2)), gym.Dict({"a": gym.MultiBinary(2)})):
        rows = np.empty((0, SpaceSpec(space).column.size), SpaceSpec(space).column.dtype)
        assert to_rows(space, from_rows(space, rows)).shape == rows.shape

"""Strategies of hypothesis for every kind of space that Gymnasium has, nested ones too."""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium import spaces as gym
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
CHARSETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
"""NumPy, by which Gymnasium draws, has no text that ends in zeros."""
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


@st.composite
def boxes(draw: st.DrawFn, sampled: bool = False) -> gym.Box:
    """Of any dtype, with bounds of their own for each number, some of them infinite or the dtype's last.

    Those that are `sampled` are nearer: NumPy draws from no interval that is longer than the dtype's largest number.
    """
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "?", *INTEGERS])))
    shape, limits = draw(SHAPES), hnp.from_dtype(dtype, allow_nan=False, allow_infinity=True)
    if sampled and dtype.kind == "f":
        limits = st.one_of(st.floats(-1000.0, 1000.0, width=16), st.sampled_from([-np.inf, np.inf]))
    elif sampled and dtype.kind != "b":
        limits = st.integers(max(np.iinfo(dtype).min, -(2**40)), min(np.iinfo(dtype).max, 2**40))
    one, other = (draw(hnp.arrays(dtype, shape, elements=limits)) for _ in range(2))
    if dtype.kind == "f":
        # No number lies between two infinities of one sign.
        same_sign = np.isinf(one) & (one == other)
        one, other = np.where(same_sign, 0, one).astype(dtype), np.where(same_sign, 1, other).astype(dtype)
    return gym.Box(np.asarray(np.minimum(one, other)), np.asarray(np.maximum(one, other)), shape, dtype.type)


@st.composite
def discretes(draw: st.DrawFn) -> gym.Discrete:
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(INTEGERS)))
    start = draw(st.integers(0 if dtype.kind == "u" else -9, 9))
    return gym.Discrete(draw(st.integers(1, 9)), start=start, dtype=dtype.type)


@st.composite
def multi_discretes(draw: st.DrawFn) -> gym.MultiDiscrete:
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(INTEGERS)))
    shape = draw(hnp.array_shapes(max_dims=2, max_side=3))
    counts = draw(hnp.arrays(dtype, shape, elements=st.integers(1, 9)))
    starts = draw(hnp.arrays(dtype, shape, elements=st.integers(0 if dtype.kind == "u" else -9, 9)))
    return gym.MultiDiscrete(counts, dtype=dtype.type, start=starts)


def leaves(box: st.SearchStrategy[gym.Box]) -> dict[type[Space[Any]], st.SearchStrategy[Space[Any]]]:
    """Of each kind that holds no other."""
    either = st.one_of(box, discretes())
    sizes = st.one_of(st.integers(1, 9), st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return {
        gym.Box: box,
        gym.Discrete: discretes(),
        gym.MultiBinary: st.builds(gym.MultiBinary, sizes),
        gym.MultiDiscrete: multi_discretes(),
        gym.Text: st.builds(lambda extra, least, chars: gym.Text(least + extra, min_length=least, charset=chars),
                            st.integers(1, 9), st.integers(0, 5), CHARSETS),
        gym.Graph: st.builds(gym.Graph, either, st.one_of(st.none(), either)),
    }  # fmt: skip


def nests(inner: st.SearchStrategy[Space[Any]]) -> dict[type[Space[Any]], st.SearchStrategy[Space[Any]]]:
    """Of each kind that holds others, with the inner ones in it."""
    some = st.lists(inner, min_size=1, max_size=3)
    keyed = st.dictionaries(TEXTS, inner, min_size=1, max_size=3)
    return {
        gym.Tuple: some.map(gym.Tuple),
        gym.OneOf: some.map(gym.OneOf),
        gym.Dict: keyed.map(lambda parts: gym.Dict(list(parts.items()), sort_keys=False)),
        gym.Sequence: inner.map(gym.Sequence),
    }


def of_any(box: st.SearchStrategy[gym.Box]) -> st.SearchStrategy[Space[Any]]:
    """Of any kind, nested."""
    stacked = st.one_of(box, discretes()).map(lambda inner: gym.Sequence(inner, stack=True))
    flat: st.SearchStrategy[Space[Any]] = st.one_of(*leaves(box).values(), stacked)
    return st.recursive(flat, lambda inner: st.one_of(*nests(inner).values()), max_leaves=5)


ANY_SPACE = of_any(boxes())
SAMPLED_SPACE = of_any(boxes(True))
KINDS = leaves(boxes(True)) | nests(SAMPLED_SPACE)
"""Spaces of each kind, nested ones too; all of them can be sampled."""

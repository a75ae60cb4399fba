"""Spaces of every kind, nested ones too: they and their samples are the same on the other side, to the type and bit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import Space
from gymnasium import spaces as gym
from hypothesis import given, settings
from hypothesis import strategies as st

from experience.environment import Environment
from experience.spaces import Spaces, SpaceSpec, read_space, space_text
from experience.values import pack, unpack
from tests.experience.test_values import same
from tests.support.any_space import ANY_SPACE, KINDS


def parts(space: Space[Any]) -> Any:
    """Everything in which two spaces of Gymnasium's may differ."""
    match space:
        case gym.Box():
            bounds = [one.tolist() for one in (space.bounded_below, space.bounded_above)]
            return "Box", space.shape, space.dtype.str, space.low.tobytes(), space.high.tobytes(), bounds
        case gym.Discrete():
            return "Discrete", int(space.n), int(space.start), np.dtype(space.dtype).str
        case gym.MultiBinary():
            return "MultiBinary", space.shape, space.n
        case gym.MultiDiscrete():
            return "MultiDiscrete", space.nvec.tolist(), space.start.tolist(), np.dtype(space.dtype).str
        case gym.Text():
            return "Text", space.min_length, space.max_length, space.character_list
        case gym.Tuple() | gym.OneOf():
            return type(space).__name__, [parts(inner) for inner in space.spaces]
        case gym.Dict():
            return "Dict", [(key, parts(inner)) for key, inner in space.spaces.items()]
        case gym.Sequence():
            return "Sequence", space.stack, parts(space.feature_space)
        case gym.Graph():
            return "Graph", parts(space.node_space), space.edge_space and parts(space.edge_space)
    raise AssertionError(f"{space} is of no kind")


def test_all_kinds_are_tried() -> None:
    assert {kind.__name__ for kind in KINDS} == set(gym.__all__) & {kind.__name__ for kind in Space.__subclasses__()}
    assert len(KINDS) == 10


@pytest.mark.slow
@given(ANY_SPACE)
def test_a_space_is_exact_whatever_its_bounds(space: Space[Any]) -> None:
    found = read_space(space_text(space))
    assert parts(found) == parts(space)
    assert found == space
    assert space_text(found) == space_text(space)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_and_its_samples_are_exact(kind: type[Space[Any]]) -> None:
    @settings(deadline=None)
    @given(KINDS[kind], st.integers(0, 2**31 - 1))
    def exact(space: Space[Any], seed: int) -> None:
        found = read_space(space_text(space))
        assert type(found) is type(space)
        assert parts(found) == parts(space)
        for one in (space, found):
            one.seed(seed)
        for _ in range(3):
            sample = space.sample()
            travelled = unpack(pack(sample))
            assert same(travelled, sample)
            assert found.contains(travelled)
            assert same(found.sample(), sample), "from the same seed the same is drawn"

    exact()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_space_that_differs_in_one_thing_has_another_signature(kind: type[Space[Any]]) -> None:
    @settings(deadline=None)
    @given(KINDS[kind])
    def differ(space: Space[Any]) -> None:
        others = list(neighbours(space))
        assert len(others) > 1
        for other in others:
            assert signature(other) != signature(space), f"{other} and {space}"

    differ()


def signature(space: Space[Any]) -> str:
    return Environment("toy", Spaces(SpaceSpec(space), SpaceSpec(gym.Discrete(2)))).signature


def neighbours(space: Space[Any]) -> Iterator[Space[Any]]:
    """Spaces that differ from this one in one thing."""
    match space:
        case gym.Box():
            yield from _boxes(space)
        case gym.Discrete():
            n, start, dtype = int(space.n), int(space.start), np.dtype(space.dtype)
            yield gym.Discrete(n + 1, start=start, dtype=dtype.type)
            yield gym.Discrete(n, start=start + 1, dtype=dtype.type)
            yield gym.Discrete(n, start=start, dtype=_other(dtype, np.int64 if dtype.kind == "i" else np.uint64))
        case gym.MultiBinary():
            yield gym.MultiBinary([*space.shape, 1])
            yield gym.MultiBinary([space.shape[0] + 1, *space.shape[1:]])
        case gym.MultiDiscrete():
            dtype, one = np.dtype(space.dtype), np.zeros_like(space.nvec)
            one.flat[-1] = 1
            yield gym.MultiDiscrete(space.nvec + one, dtype=dtype.type, start=space.start)
            yield gym.MultiDiscrete(space.nvec, dtype=dtype.type, start=space.start + one)
            other = _other(dtype, np.int64 if dtype.kind == "i" else np.uint64)
            yield gym.MultiDiscrete(space.nvec.astype(other), dtype=other, start=space.start.astype(other))
        case gym.Text():
            characters, least, most = "".join(space.character_list), space.min_length, space.max_length
            yield gym.Text(most + 1, min_length=least, charset=characters)
            yield gym.Text(most, min_length=least + 1 if least < most else least - 1, charset=characters)
            new = next(character for character in "abcdefghijklmnopq" if character not in characters)
            yield gym.Text(most, min_length=least, charset=characters + new)
            if len(characters) > 1:
                yield gym.Text(most, min_length=least, charset=characters[::-1])
        case gym.Tuple() | gym.OneOf():
            kind, other_kind = (gym.Tuple, gym.OneOf) if isinstance(space, gym.Tuple) else (gym.OneOf, gym.Tuple)
            yield other_kind(space.spaces)
            yield kind([*space.spaces, gym.Discrete(2)])
            for inner in neighbours(space.spaces[0]):
                yield kind([inner, *space.spaces[1:]])
        case gym.Dict():
            (key, first), *rest = space.spaces.items()
            yield gym.Dict([(f"{key} as no other", first), *rest], sort_keys=False)
            for inner in neighbours(first):
                yield gym.Dict([(key, inner), *rest], sort_keys=False)
            if rest:
                yield gym.Dict([*rest, (key, first)], sort_keys=False)
        case gym.Sequence():
            yield gym.Sequence(space.feature_space, stack=not space.stack)
            for inner in neighbours(space.feature_space):
                yield gym.Sequence(inner, stack=space.stack)
        case gym.Graph():
            yield gym.Graph(space.node_space, None if space.edge_space else gym.Discrete(2))
            for node in neighbours(space.node_space):
                yield gym.Graph(node, space.edge_space)


def _other(dtype: np.dtype[Any], kind: Any) -> Any:
    """This kind, or a smaller one where the dtype is that."""
    smaller = {"i": np.int32, "u": np.uint32}[dtype.kind]
    return smaller if dtype == np.dtype(kind) else kind


def _boxes(space: gym.Box) -> Iterator[gym.Box]:
    dtype: Any = space.dtype.type
    yield gym.Box(space.low[None], space.high[None], (1, *space.shape), dtype)
    other: Any = {"f2": np.float32, "f4": np.float64, "f8": np.float32, "u1": np.uint16}.get(space.dtype.str[1:])
    if other is not None:
        yield gym.Box(space.low.astype(other), space.high.astype(other), space.shape, other)
    elif space.dtype.kind == "b":
        yield gym.Box(space.low.astype(np.uint8), space.high.astype(np.uint8), space.shape, np.uint8)
    else:
        wide = np.int64 if space.dtype.kind == "i" else np.uint64
        other = _other(space.dtype, wide)
        if space.dtype != np.dtype(wide):
            yield gym.Box(space.low.astype(other), space.high.astype(other), space.shape, other)
        else:
            yield gym.Box(np.zeros(space.shape, other), np.ones(space.shape, other), space.shape, other)
    if space.low.size and space.dtype.kind != "b":
        for side in ("low", "high"):
            bounds = {"low": space.low.copy(), "high": space.high.copy()}
            last = bounds[side].ravel()[-1]
            outwards = -1 if side == "low" else 1
            if space.dtype.kind == "f":
                further = np.nextafter(last, dtype(outwards * np.inf))
            else:
                end = np.iinfo(dtype).min if side == "low" else np.iinfo(dtype).max
                further = last if last == end else dtype(int(last) + outwards)
            bounds[side].flat[-1] = further
            if further != last:
                yield gym.Box(bounds["low"], bounds["high"], space.shape, dtype)

"""Every Gymnasium space has one canonical text; whatever a stranger writes is refused in a sentence."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as gym
from hypothesis import given
from hypothesis import strategies as st

from experience.batches import Column
from experience.spaces import Spaces, SpacesError, SpaceSpec, canonical, space_to_json

EVERY_KIND: tuple[gym.Space[Any], ...] = (
    gym.Box(-1.0, 1.0, (3,), np.float32),
    gym.Box(np.array([-np.inf, 0.1], np.float32), np.array([0.1, np.inf], np.float32)),
    gym.Box(0, 255, (84, 84, 3), np.uint8),
    gym.Box(-np.inf, np.inf, (2, 2), np.float64),
    gym.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64),
    gym.Box(0.0, 1.0, (0,), np.float32),
    gym.Discrete(4, start=-1),
    gym.Discrete(3, dtype=np.int32),
    gym.MultiBinary(5),
    gym.MultiBinary([2, 3]),
    gym.MultiDiscrete([3, 2], start=[1, -1]),
    gym.MultiDiscrete(np.array([[3, 2], [4, 5]]), dtype=np.int32),
    gym.Text(12, min_length=0, charset="äbc"),
    gym.Tuple([gym.Discrete(2), gym.Box(0.0, 1.0, (1,))]),
    gym.Dict([("z", gym.Discrete(2)), ("a", gym.Dict({"inner": gym.MultiBinary(1)}))]),
    gym.Sequence(gym.Box(0.0, 1.0, (2,)), stack=True),
    gym.Graph(gym.Box(0.0, 1.0, (2,)), gym.Discrete(3)),
    gym.Graph(gym.Box(0.0, 1.0, (2,)), None),
    gym.OneOf([gym.Discrete(2), gym.MultiBinary(2)]),
)


def of(space: gym.Space[Any], **more: Any) -> Spaces:
    return Spaces(SpaceSpec(space), SpaceSpec(gym.Discrete(2)), **more)


@pytest.mark.parametrize("space", EVERY_KIND, ids=lambda space: f"{type(space).__name__}-{space.shape}")
def test_every_space_of_gymnasium_has_a_text_that_is_read_back(space: gym.Space[Any]) -> None:
    spaces = of(space)
    again = Spaces.parse(spaces.text)
    assert again == spaces
    assert again.text == spaces.text
    assert again.observation.space == space
    assert type(again.observation.space) is type(space)


def test_spaces_that_differ_have_different_texts() -> None:
    texts = {of(space).text for space in EVERY_KIND}
    assert len(texts) == len(EVERY_KIND)


@given(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), st.integers(1, 4))
def test_bounds_are_exact_to_the_bit(bound: float, size: int) -> None:
    low = np.minimum(np.full(size, bound, np.float32), np.float32(0))
    high = np.maximum(np.full(size, bound, np.float32), np.float32(0))
    found = Spaces.parse(of(gym.Box(low, high)).text).observation.space
    assert isinstance(found, gym.Box)
    assert np.array_equal(found.low, low)
    assert np.array_equal(found.high, high)


def test_a_dictionary_keeps_its_order_which_decides_how_it_is_flattened() -> None:
    space = gym.Dict([("z", gym.Discrete(2)), ("a", gym.Discrete(3))], sort_keys=False)
    found = Spaces.parse(of(space).text).observation.space
    assert isinstance(found, gym.Dict)
    assert list(found.spaces) == ["z", "a"]


def test_what_is_a_row_of_numbers_has_a_column() -> None:
    assert of(gym.Box(0, 255, (8, 8, 3), np.uint8)).layout.observation == Column(192, "uint8")
    assert of(gym.Discrete(4)).layout.observation == Column(1, "int64")
    assert of(gym.MultiDiscrete([2, 3])).layout.observation == Column(2, "int64")
    assert of(gym.MultiBinary(3)).layout.observation == Column(3, "int8")
    nested = gym.Dict({"a": gym.Discrete(2), "b": gym.Tuple([gym.Box(0, 255, (2, 2), np.uint8), gym.MultiBinary(3)])})
    assert of(nested).layout.observation == Column(8 + 4 + 3, "uint8")
    with pytest.raises(SpacesError, match="Text space are not of one size"):
        _ = of(gym.Dict({"a": gym.Discrete(2), "b": gym.Text(3)})).layout
    with pytest.raises(SpacesError, match="1 to 65536 numbers"):
        _ = of(gym.Box(0.0, 1.0, (0,))).layout


def test_a_space_that_gymnasium_does_not_know_cannot_be_described() -> None:
    class Strange(gym.Space[int]):
        pass

    with pytest.raises(SpacesError, match="none of Gymnasium's own"):
        space_to_json(Strange())


def changed(**fields: Any) -> str:
    return canonical(json.loads(of(gym.Discrete(2)).text) | fields)


def side(space: Any) -> dict[str, Any]:
    return {"space": space, "step": None, "channels": []}


DEEP: Any = {"type": "MultiBinary", "n": [1]}
for _ in range(200):
    DEEP = {"type": "Tuple", "spaces": [DEEP]}

HOSTILE = {
    "no JSON": "{",
    "no object": "[]",
    "nothing": "{}",
    "deep": "[" * 30_000,
    "no agents": changed(agents=0),
    "too many agents": changed(agents=10**9),
    "agents that are no number": changed(agents=True),
    "another field": changed(more=1),
    "a type that does not exist": changed(observation=side({"type": "os.system"})),
    "a huge box": changed(
        observation=side({"type": "Box", "shape": [2**20, 2**20], "dtype": "float32", "low": 0.0, "high": 1.0})
    ),
    "many huge boxes": changed(
        observation=side(
            {
                "type": "Tuple",
                "spaces": [{"type": "Box", "shape": [2**19], "dtype": "float64", "low": 0.0, "high": 1.0}] * 99,
            }
        )
    ),
    "a negative shape": changed(
        observation=side({"type": "Box", "shape": [-3], "dtype": "float32", "low": 0.0, "high": 1.0})
    ),
    "an object dtype": changed(
        observation=side({"type": "Box", "shape": [1], "dtype": "object", "low": 0.0, "high": 1.0})
    ),
    "bounds of another size": changed(
        observation=side({"type": "Box", "shape": [2], "dtype": "float32", "low": [0.0] * 3, "high": 1.0})
    ),
    "low above high": changed(
        observation=side({"type": "Box", "shape": [2], "dtype": "float32", "low": 2.0, "high": 1.0})
    ),
    "a huge multi-binary": changed(observation=side({"type": "MultiBinary", "n": [2**40]})),
    "nested": changed(observation=side(DEEP)),
    "a grid that is none": changed(observation=side({"type": "Discrete", "n": -2, "start": 0, "dtype": "int64"})),
    "blanks": of(gym.Discrete(2)).text.replace(":", ": "),
    "too long": of(gym.Discrete(2)).text + " " * 70_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_that_describes_no_spaces_is_refused_and_costs_little(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SpacesError):
            Spaces.parse(text)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


@given(st.text(max_size=60))
def test_any_text_is_spaces_or_refused(text: str) -> None:
    with pytest.raises(SpacesError):
        Spaces.parse(text)

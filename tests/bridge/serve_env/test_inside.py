"""Whether a value is of a space is told faster than by the space, and in the same way."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bridge.serve_env.checked import _is_inside

BOXES = (
    Box(-1.0, 1.0, (3,), np.float32),
    Box(np.array([-np.inf, 0.0, 1.0]), np.array([0.0, np.inf, 1.0]), dtype=np.float64),
    Box(0, 255, (3,), np.uint8),
    Box(-1, 1, (3,), np.int8),
    Box(0, 1, (), np.float32),
)


@pytest.mark.parametrize("box", BOXES, ids=str)
@given(draw=st.data())
def test_it_is_the_answer_of_the_box(box: Box, draw: st.DataObject) -> None:
    dtype = draw.draw(st.sampled_from([box.dtype, np.dtype(np.float32), np.dtype(np.uint8)]))
    shape = draw.draw(st.sampled_from([box.shape, (3,), (2, 3)]))
    edges: list[float] = [-2, -1, 0, 1, 2, 255] if dtype.kind != "u" else [0, 1, 2, 255]
    edges += [np.nan, np.inf, -np.inf] if dtype.kind == "f" else []
    values = st.sampled_from([dtype.type(edge) for edge in edges if dtype.itemsize > 1 or abs(edge) < 128])
    value = draw.draw(arrays.arrays(dtype, shape, elements=values))
    assert _is_inside(value, box) == box.contains(value)


@pytest.mark.parametrize("box", BOXES, ids=str)
def test_a_sample_is_inside(box: Box) -> None:
    assert _is_inside(box.sample(), box)


@pytest.mark.parametrize("space", [Discrete(3), Discrete(2, start=-1)], ids=str)
def test_it_is_the_answer_of_numbers(space: Discrete) -> None:
    for value in range(-3, 5):
        for kind in (np.int64, np.int32, np.float64, int, float):
            assert _is_inside(kind(value), space) == space.contains(kind(value))

"""Values of a space as rows of a batch, and back, exact to the bit.

A row of numbers stays one. What is nested (Dict, Tuple) becomes the bytes of its parts, little-endian and in order: one
uint8 column, so that batches, store and delivery know only rows. Values are batched as Gymnasium's vector environments
batch them: arrays with a first axis of N, in a Dict's or Tuple's own structure.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces as gym

from experience.batches import AnyArray
from experience.spaces import ROW, leaf_bytes, leaves


def to_rows(space: gym.Space[Any], values: Any) -> AnyArray:
    """Batched values as (N, D) rows of the dtype of the space's column. Raises SpacesError for a space without one."""
    if isinstance(space, ROW):
        array = np.asarray(values, space.dtype)
        return array.reshape(len(array), math.prod(space.shape or ()))
    parts = [
        np.asarray(value, _dtype(leaf)) for leaf, value in zip(leaves(space), leaf_values(space, values), strict=True)
    ]
    sizes = [(len(part), leaf_bytes(leaf)) for leaf, part in zip(leaves(space), parts, strict=True)]
    columns = [np.ndarray(size, np.uint8, part.tobytes()) for size, part in zip(sizes, parts, strict=True)]
    return np.concatenate(columns, axis=1)


def from_rows(space: gym.Space[Any], rows: AnyArray) -> Any:
    """The batched values in rows (N, D) that `to_rows` made; arrays of their own for nested spaces, else a view."""
    if isinstance(space, ROW):
        return rows.reshape(len(rows), *(space.shape or ()))
    ends = np.cumsum([leaf_bytes(leaf) for leaf in leaves(space)])
    columns = np.split(rows, ends[:-1], axis=1)
    arrays = [
        np.ndarray((len(rows), *(leaf.shape or ())), _dtype(leaf), bytearray(column.tobytes())).astype(leaf.dtype)
        for leaf, column in zip(leaves(space), columns, strict=True)
    ]
    return _structured(space, iter(arrays))


def batch_of_one(space: gym.Space[Any], value: Any) -> Any:
    """A single value of the space, as a batch that holds nothing else.

    It gets the space's dtypes, as Gymnasium gives them to what it stacks: raises TypeError for another kind of numbers.
    """
    if isinstance(space, gym.Dict):
        return {key: batch_of_one(inner, value[key]) for key, inner in space.spaces.items()}
    if isinstance(space, gym.Tuple):
        return tuple(batch_of_one(inner, one) for inner, one in zip(space.spaces, value, strict=True))
    return np.asarray(value)[None].astype(_dtype(space), casting="same_kind")


def _dtype(leaf: gym.Space[Any]) -> np.dtype[Any]:
    return np.dtype(leaf.dtype).newbyteorder("<")


def leaf_values(space: gym.Space[Any], values: Any) -> Iterator[Any]:
    """The batched values of each leaf, in the order of `leaves`."""
    if isinstance(space, gym.Dict):
        for key, inner in space.spaces.items():
            yield from leaf_values(inner, values[key])
    elif isinstance(space, gym.Tuple):
        for inner, value in zip(space.spaces, values, strict=True):
            yield from leaf_values(inner, value)
    else:
        yield values


def _structured(space: gym.Space[Any], arrays: Iterator[AnyArray]) -> Any:
    if isinstance(space, gym.Dict):
        return {key: _structured(inner, arrays) for key, inner in space.spaces.items()}
    if isinstance(space, gym.Tuple):
        return tuple(_structured(inner, arrays) for inner in space.spaces)
    return next(arrays)

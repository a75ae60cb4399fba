"""What an environment gives comes out as it went in, to the type and the bit; what cannot travel is said."""

import enum
import struct
import tracemalloc
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
import pytest
from gymnasium import spaces as gym
from gymnasium.spaces import GraphInstance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from experience.values import CannotTravel, ValuesError, pack, unpack
from tests.experience.test_spaces import EVERY_KIND


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in type, dtype, shape, order and bit, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if one.dtype.str != other.dtype.str or one.shape != other.shape:
            return False
        if one.dtype == object:
            return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, np.generic):
        return bool(one.dtype.str == other.dtype.str and one.tobytes() == other.tobytes())
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one.items(), other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return bool(one == other)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?"),
    hnp.byte_string_dtypes(),
    hnp.datetime64_dtypes(endianness="="),
    hnp.timedelta64_dtypes(endianness="="),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
KEYS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.tuples(st.integers(), TEXTS))


def objects(items: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.binary(),
    ARRAYS,
    ARRAYS.map(lambda a: a.ravel()[:1]),
)
VALUES = st.recursive(
    st.one_of(LEAVES, DTYPES.flatmap(hnp.from_dtype)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.lists(inner, max_size=4).map(objects),
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(VALUES)
def test_a_value_is_the_same_on_the_other_side(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize("space", EVERY_KIND, ids=lambda space: f"{type(space).__name__}-{space.shape}")
def test_samples_of_every_space_are_the_same_and_belong_to_it(space: gym.Space[Any]) -> None:
    space.seed(7)
    for _ in range(50):
        sample = space.sample()
        found = unpack(pack(sample))
        assert same(found, sample)
        assert space.contains(found)


def test_what_arrives_is_the_readers_own_and_may_be_written_to() -> None:
    data = pack(np.zeros(3))
    first, second = unpack(data), unpack(data)
    first[0] = 1.0
    assert second.tolist() == [0.0, 0.0, 0.0]


def test_a_view_of_any_order_travels_by_its_items() -> None:
    turned = np.arange(6).reshape(2, 3).T
    assert unpack(pack(turned)).tolist() == turned.tolist()


class Gear(enum.IntEnum):
    FIRST = 1


class Own:
    pass


def test_what_is_derived_from_pythons_own_travels_as_that() -> None:
    assert same(unpack(pack(Gear.FIRST)), 1)
    assert same(unpack(pack(OrderedDict(b=1, a=2))), {"b": 1, "a": 2})
    assert same(unpack(pack(np.zeros(2).view(np.recarray))), np.zeros(2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"camera": [1, {"state": Own()}]}, r"under \['camera'\]\[1\]\['state'\] there is a .*Own, which cannot"),
        ({Own: 1}, "which cannot travel"),
        (lambda: None, "function, which cannot travel"),
        ({1, 2}, "set, which cannot travel"),
        (np.zeros(1, [("a", "f4")]), "dtype .*a.*, which cannot travel"),
        ("\ud800", "a text that is none"),
        (1 << 20_000, "an integer of 20001 bits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_travel_is_named_with_its_place(value: Any, words: str) -> None:
    with pytest.raises(CannotTravel, match=words):
        pack(value)


def test_what_holds_itself_cannot_travel() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(CannotTravel, match="holds itself"):
        pack(value)


def ext(code: int, data: Any) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data if isinstance(data, bytes) else pack(data)))


def array_bytes(dtype: bytes, shape: tuple[int, ...], items: bytes) -> bytes:
    head = struct.pack(f"<B{len(dtype)}sB{len(shape)}Q", len(dtype), dtype, len(shape), *shape)
    return ext(1, head + items)


def nested(times: int) -> bytes:
    data = pack(None)
    for _ in range(times):
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(3, b"\x91" + data))
    return data


HOSTILE = {
    "nothing": b"",
    "cut": pack(np.zeros(9))[:-1],
    "more after it": pack(1) + b"\x01",
    "a huge array": array_bytes(b"<f8", (2**40,), b""),
    "a product beyond 64 bits": array_bytes(b"<f8", (2**30, 2**30, 2**30), b""),
    "a huge array of nothing": array_bytes(b"<U0", (2**62,), b""),
    "a large array of nothing": array_bytes(b"|S0", (2**31 - 1,), b""),
    "items of another count": array_bytes(b"<f8", (2,), b"\0" * 24),
    "items cut": array_bytes(b"<f8", (1,), b"\0" * 7),
    "an array that ends in its head": ext(1, b"\x03<f4"),
    "nothing as an array": ext(1, b""),
    "objects as an array": array_bytes(b"|O", (1,), b"\0" * 8),
    "a structured dtype": array_bytes(b"i4,f4", (1,), b"\0" * 8),
    "a dtype that is evaluated": array_bytes(b"(2,)f4", (1,), b"\0" * 8),
    "no dtype": array_bytes(b"os.system", (1,), b"\0"),
    "too many axes": array_bytes(b"<f8", (1,) * 64, b"\0" * 8),
    "booleans that are none": array_bytes(b"|b1", (1,), b"\x02"),
    "characters that are none": array_bytes(b"<U1", (1,), b"\xff\xff\xff\x7f"),
    "an unknown kind": ext(99, None),
    "a timestamp": msgspec.msgpack.encode(msgspec.msgpack.Ext(-1, b"\0" * 3)),
    "no digits": ext(7, b"0x"),
    "many digits": ext(7, b"1" * 10_000),
    "a tuple of nothing": ext(3, 1),
    "pairs that are none": ext(4, [1]),
    "a key that cannot be one": ext(4, [([], 1)]),
    "a graph of one": ext(5, [1]),
    "objects of another count": ext(6, [[3], [1]]),
    "objects of a shape that is none": ext(6, [["3"], [1]]),
    "objects without end": ext(6, [[2**62], [1]]),
    "nested": nested(10_000),
    "nested lists": b"\x91" * 100_000 + b"\xc0",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_hold_no_value_are_refused_without_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValuesError):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 2**23 + 16 * len(data)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        value = unpack(data)
    except ValuesError:
        return
    pack(value)


@pytest.mark.slow
@given(VALUES, st.data())
def test_no_mutation_raises_anything_else(value: Any, draw: st.DataObject) -> None:
    data = bytearray(pack(value))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        unpack(bytes(data))
    except ValuesError:
        return


def test_a_graph_keeps_its_parts() -> None:
    graph = GraphInstance(np.zeros((2, 1), np.float32), None, None)
    assert same(tuple(unpack(pack(graph))), tuple(graph))
    assert isinstance(unpack(pack(graph)), GraphInstance)


@pytest.mark.parametrize("name", [b",f4", b"1,1", b"3f4", b"(f4", b"<f(", b"<U'"])
def test_a_dtype_is_a_name_and_nothing_that_is_evaluated(name: bytes) -> None:
    packed = pack(np.zeros(2, np.float32))
    assert packed.count(b"\x03<f4") == 1
    with pytest.raises(ValuesError, match=r"has the dtype|hold no value"):
        unpack(packed.replace(b"\x03<f4", b"\x03" + name))

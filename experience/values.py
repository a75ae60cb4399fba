"""Values that any Gymnasium environment takes or gives, as bytes and back: exact in kind, dtype, shape and bit.

What travels: None, bool, int of any size, float, str, bytes, lists, tuples, dicts, Gymnasium's graphs, NumPy's scalars
and arrays (numbers, booleans, complex numbers, text, times, and arrays of objects that travel themselves). An instance
of a class that is derived from one of Python's own travels as what it is derived from. Nothing that arrives is
imported or evaluated, and nothing is allocated beyond what the bytes themselves hold.
"""

import math
import re
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from gymnasium.spaces import GraphInstance

_ARRAY, _SCALAR, _TUPLE, _PAIRS, _GRAPH, _OBJECTS, _INTEGER = range(1, 8)
_KINDS: Final = "biufcmMUS"
"""Kinds of dtypes whose items are plain bytes."""
_DTYPE_NAME: Final = re.compile(rb"[<>|][%s][0-9]+(\[[0-9]*[A-Za-z]+\])?" % _KINDS.encode())
_MOST_AXES: Final = 32
_MOST_DIGITS: Final = 4096
_MOST_NOTHING: Final = 2**16
"""Items without bytes of their own in an array: whoever turns them into others has to allocate those."""
_LAST_CHARACTER: Final = 0x10FFFF


class CannotTravel(TypeError):
    """A value holds something that has no bytes of its own; the text says where and what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self._what, self._where = what, ""

    def inside(self, key: object) -> "CannotTravel":
        """The same error, told by whoever holds the value under `key`."""
        self._where = f"[{key!r}]{self._where}"
        return self

    def __str__(self) -> str:
        """Where it is in the value, and what it is."""
        return f"{f'under {self._where} there is ' if self._where else ''}{self._what}"


class ValuesError(ValueError):
    """These bytes hold no value; the text says why."""


def pack(value: Any) -> bytes:
    """The value as bytes. Raises CannotTravel."""
    try:
        return _ENCODER.encode(_plain(value))
    except RecursionError:
        raise CannotTravel("a value that is nested too deeply, or holds itself") from None
    except UnicodeEncodeError as error:
        raise CannotTravel(f"a text that is none ({error.reason})") from None


def unpack(data: bytes) -> Any:
    """The value in bytes that `pack` made; arrays are the reader's own. Raises ValuesError for any other bytes."""
    try:
        return _DECODER.decode(data)
    except RecursionError:
        raise ValuesError("The value is nested too deeply.") from None
    except ValuesError:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        raise ValuesError(f"These bytes hold no value ({error}).") from None


def _plain(value: Any) -> Any:
    """The value in what MessagePack has, and extensions."""
    make = _PLAIN.get(type(value)) or _by_base(type(value))  # type: ignore[arg-type]  # a class can be hashed
    return make(value)


@lru_cache(maxsize=1024)
def _by_base(kind: type) -> Callable[[Any], Any]:
    # NumPy's scalars come first: one of them is a float of Python's, too.
    bases = (np.ndarray, np.generic, GraphInstance, bool, int, float, str, bytes, list, tuple, dict)
    base = next((base for base in bases if issubclass(kind, base)), None)
    if base is None:
        raise CannotTravel(
            f"a {kind.__module__}.{kind.__qualname__}, which cannot travel; make it a number, a text, a list, a dict "
            "or a NumPy array"
        )
    if base is np.generic:
        return _scalar
    if base in (float, str, bytes):
        return base
    return _PLAIN[base]


def _same(value: Any) -> Any:
    return value


def _int(value: int) -> Any:
    return int(value) if -(2**63) <= value < 2**64 else _ext(_INTEGER, _digits(value))


def _digits(value: int) -> bytes:
    if value.bit_length() > _MOST_DIGITS * 4:
        raise CannotTravel(f"an integer of {value.bit_length()} bits")
    return f"{value:x}".encode()


def _list(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    made = []
    for index, item in enumerate(value):
        try:
            made.append(_plain(item))
        except CannotTravel as error:
            raise error.inside(index) from None
    return made


def _dict(value: dict[Any, Any]) -> Any:
    texts, pairs = True, []
    for key, item in value.items():
        try:
            texts = texts and type(key) is str
            pairs.append((_plain(key), _plain(item)))
        except CannotTravel as error:
            raise error.inside(key) from None
    return dict(pairs) if texts else _ext(_PAIRS, pairs)


def _scalar(value: np.generic) -> msgspec.msgpack.Ext:
    # An empty text of NumPy's has a dtype without bytes, and a byte.
    array = np.asarray(value)
    return msgspec.msgpack.Ext(_SCALAR, _head(array.dtype, ()) + array.tobytes())


def _array(value: np.ndarray[Any, Any]) -> msgspec.msgpack.Ext:
    if value.dtype == object:
        return _ext(_OBJECTS, [list(value.shape), _list(value.ravel().tolist())])
    return msgspec.msgpack.Ext(_ARRAY, _head(value.dtype, value.shape) + value.tobytes())


@lru_cache(maxsize=1024)
def _head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What stands before the items of an array: their dtype's name, and the shape."""
    name = dtype.str.encode()
    if dtype.kind not in _KINDS or (dtype.itemsize > 16 and dtype.kind in "fc") or len(name) > 255:
        raise CannotTravel(f"an array of the dtype {dtype}, which cannot travel")
    return struct.pack(f"<B{len(name)}sB{len(shape)}Q", len(name), name, len(shape), *shape)


def _ext(code: int, content: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, content if type(content) is bytes else _ENCODER.encode(content))


def _read(code: int, data: memoryview) -> Any:
    """The value in an extension; raises ValuesError and what a wrong content leads to."""
    if code in (_ARRAY, _SCALAR):
        array = _items(data)
        return array[()] if code == _SCALAR else array
    if code == _INTEGER:
        if len(data) > _MOST_DIGITS:
            raise ValuesError(f"An integer has at most {_MOST_DIGITS} digits, not {len(data)}.")
        return int(bytes(data), 16)
    content = _DECODER.decode(data)
    if code == _TUPLE:
        return tuple(content)
    if code == _PAIRS:
        return dict(content)
    if code == _GRAPH:
        return GraphInstance(*content)
    if code == _OBJECTS:
        shape, items = content
        array = np.empty(len(items), object)
        array[:] = items
        return array.reshape(_shape(shape, len(items)))
    raise ValuesError(f"There is no kind {code} of value.")


def _items(data: memoryview) -> np.ndarray[Any, Any]:
    begin = 2 + data[0] + 8 * data[1 + data[0]]
    dtype, shape, size = _read_head(bytes(data[:begin]))
    if size != len(data) - begin:
        raise ValuesError(f"An array of {dtype} of the shape {shape} does not fill its bytes, or has more.")
    array = np.ndarray(shape, dtype, data if size else None, begin if size else 0).copy()
    if (dtype.kind == "b" and bytes(data[begin:]).strip(b"\0\1")) or not _is_text(array):
        raise ValuesError(f"The items of an array of {dtype} are none.")
    return array


@lru_cache(maxsize=1024)
def _read_head(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The dtype and the shape of an array, and how many bytes its items have."""
    length = head[0]
    dtype = _dtype(head[1 : 1 + length])
    sizes = struct.unpack_from(f"<{head[1 + length]}Q", head, 2 + length)
    shape = _shape(sizes, math.prod(sizes) if dtype.itemsize else None)
    return dtype, shape, math.prod(shape) * dtype.itemsize


def _is_text(array: np.ndarray[Any, Any]) -> bool:
    """Whether the items are texts, where the dtype says so: NumPy itself looks only when somebody reads one."""
    if array.dtype.kind != "U" or not array.nbytes:
        return True
    characters = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("=", "<") + "u4")
    return bool(characters.max() <= _LAST_CHARACTER)


def _shape(sizes: Any, count: int | None) -> tuple[int, ...]:
    """A shape of `count` items in all; None for items of no size, which the bytes do not count."""
    shape = tuple(sizes)
    if len(shape) > _MOST_AXES or not all(type(size) is int and 0 <= size < 2**31 for size in shape):
        raise ValuesError(f"No array has the shape {shape}.")
    if math.prod(shape) != count and not (count is None and math.prod(shape) <= _MOST_NOTHING):
        raise ValuesError(f"An array of the shape {shape} does not hold {count} items.")
    return shape


@lru_cache(maxsize=256)
def _dtype(name: bytes) -> np.dtype[Any]:
    # NumPy reads far more than this, as Python's own literals: nothing of a stranger's is for that.
    dtype = np.dtype(name.decode("ascii")) if _DTYPE_NAME.fullmatch(name) else None
    if dtype is None or dtype.kind not in _KINDS or dtype.str.encode() != name:
        raise ValuesError(f"No array that travels has the dtype {name!r}.")
    return dtype


_PLAIN: Final[dict[type, Callable[[Any], Any]]] = {
    **dict.fromkeys((type(None), bool, float, str, bytes), _same),
    int: _int,
    list: _list,
    tuple: lambda value: _ext(_TUPLE, _list(value)),
    dict: _dict,
    GraphInstance: lambda value: _ext(_GRAPH, _list(value)),
    np.ndarray: _array,
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_read)

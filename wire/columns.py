"""Arrays of numbers to few bytes and back: the parts of which `wire.codec` builds a batch.

A matrix is differenced along its rows (each column by the order that leaves the least), zigzagged and
written as byte planes, column after column, which a general compressor then squeezes. Everything is
exact. Readers raise CodecError when bytes are missing or cannot be what a writer wrote.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wire.batches import AnyArray, CodecError

_MAX_VARINT_BYTES: Final = 10
_WIDTHS: Final[dict[int, str]] = {0: "<u1", 1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
_UNSIGNED: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
_HIGHEST_ORDER: Final = 2

UnsignedArray = npt.NDArray[Any]


class Reader:
    """Takes bytes from the front of a buffer; raises CodecError when there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._position + count
        if count < 0 or end > len(self._data):
            raise CodecError("The batch ends too early; it was cut or damaged.")
        part = self._data[self._position : end]
        self._position = end
        return part

    def varint(self) -> int:
        """The next unsigned LEB128 number below 2**64."""
        value = 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if value >= 2**64:
                    break
                return value
        raise CodecError("The batch holds a number that is too large; it was damaged.")

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self._data) - self._position)


def varint(value: int) -> bytes:
    """`value` >= 0 as unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_integers(values: AnyArray) -> bytes:
    """Non-negative integers (n,).

    The least of them, then what each has more, in as few whole bytes as all need.
    """
    least = int(values.min())
    spread = int(values.max()) - least
    width = next(w for w in _WIDTHS if spread < 1 << (8 * w))
    head = varint(least) + bytes([width])
    if not width:
        return head
    rest = (values.astype(np.uint64) - np.uint64(least)).astype(_WIDTHS[width])
    return head + _planes(rest)


def unpack_integers(reader: Reader, count: int) -> npt.NDArray[np.uint64]:
    """Inverse of pack_integers for `count` values."""
    least = reader.varint()
    width = reader.take(1)[0]
    if width not in _WIDTHS:
        raise CodecError("The batch holds integers of an unknown width; it was damaged.")
    if not width:
        return np.full(count, least, np.uint64)
    values = _from_planes(reader.take(count * width), count, 1, np.dtype(_WIDTHS[width]))[:, 0]
    return values.astype(np.uint64) + np.uint64(least)


def pack_matrix(values: AnyArray) -> bytes:
    """Integers (n, columns) of any width, n >= 1, differenced by the best order for each column, as byte planes."""
    signed = values.view(f"<i{values.itemsize}")
    if len(values) < 2:
        return bytes(values.shape[1]) + _planes(_zigzag(signed))
    candidates = [signed]
    for _ in range(_HIGHEST_ORDER):
        candidates.append(np.diff(candidates[-1], axis=0, prepend=signed.dtype.type(0)))
    orders = np.argmin([np.abs(part).sum(axis=0, dtype=np.float64) for part in candidates], axis=0)
    residual = np.choose(orders, candidates)
    head: bytes = orders.astype(np.uint8).tobytes()
    return head + _planes(_zigzag(residual))


def unpack_matrix(reader: Reader, rows: int, columns: int, dtype: np.dtype[Any]) -> AnyArray:
    """Inverse of pack_matrix: (rows, columns) integers of `dtype`."""
    orders = np.frombuffer(reader.take(columns), np.uint8)
    if orders.max() > _HIGHEST_ORDER:
        raise CodecError("The batch names an unknown order of differences; it was damaged.")
    zigzag = _from_planes(reader.take(rows * columns * dtype.itemsize), rows, columns, dtype)
    values = _unzigzag(zigzag)
    for order in range(1, _HIGHEST_ORDER + 1):
        chosen = orders >= order
        if chosen.any():
            values[:, chosen] = np.cumsum(values[:, chosen], axis=0, dtype=values.dtype)
    return values.view(dtype)


def _zigzag(values: AnyArray) -> UnsignedArray:
    bits = 8 * values.itemsize
    zigzag: UnsignedArray = ((values << 1) ^ (values >> (bits - 1))).view(_UNSIGNED[values.itemsize])
    return zigzag


def _unzigzag(values: UnsignedArray) -> AnyArray:
    one = values.dtype.type(1)
    signed = np.dtype(f"<i{values.itemsize}")
    plain: AnyArray = (values >> one).view(signed) ^ -((values & one).view(signed))
    return plain


def _planes(values: UnsignedArray) -> bytes:
    matrix = np.ascontiguousarray(values).reshape(len(values), -1)
    rows, columns = matrix.shape
    planes: bytes = matrix.view(np.uint8).reshape(rows, columns, matrix.itemsize).transpose(2, 1, 0).tobytes()
    return planes


def _from_planes(data: bytes, rows: int, columns: int, dtype: np.dtype[Any]) -> UnsignedArray:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, columns, rows)
    whole = np.ascontiguousarray(planes.transpose(2, 1, 0))
    return whole.view(_UNSIGNED[dtype.itemsize]).reshape(rows, columns)

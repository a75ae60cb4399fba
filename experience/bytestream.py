"""The smallest parts of an encoded batch.

A reader that never reads too far, varints and plain lists of integers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_MAX_VARINT_BYTES: Final = 10
_WIDTHS: Final = (0, 1, 2, 4, 8)


class CodecError(ValueError):
    """A batch cannot be encoded or decoded exactly; the text says in a sentence why."""


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
        # Nearly all are one byte long.
        if self._position < len(self._data) and (value := self._data[self._position]) < 0x80:
            self._position += 1
            return value
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
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_integers(values: npt.NDArray[Any]) -> bytes:
    """Non-negative integers (n,).

    The least of them, then what each has more, in as few whole bytes as all need.
    """
    least = int(values.min())
    spread = int(values.max()) - least
    width = next(width for width in _WIDTHS if spread < 1 << (8 * width))
    head = varint(least) + bytes([width])
    if not width:
        return head
    more: bytes = (values.astype(np.uint64) - np.uint64(least)).astype(f"<u{width}").tobytes()
    return head + more


def unpack_integers(reader: Reader, count: int) -> npt.NDArray[np.uint64]:
    """Inverse of pack_integers for `count` values. Raises CodecError."""
    least = reader.varint()
    width = reader.take(1)[0]
    if width not in _WIDTHS:
        raise CodecError("The batch holds integers of an unknown width; it was damaged.")
    if not width:
        return np.full(count, least, np.uint64)
    return np.frombuffer(reader.take(count * width), f"<u{width}").astype(np.uint64) + np.uint64(least)

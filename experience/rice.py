"""Golomb-Rice coding of streams of small numbers, each stream with its own parameter.

A number u becomes its quotient u >> k in unary and its k low bits; k is chosen for each stream from a
histogram of bit lengths. This comes within a few hundredths of a bit of the entropy of differences of a
smooth signal (R. F. Rice, JPL Publication 79-22), needs no table, and so keeps small batches small too.
All streams are written with a few whole-array operations. Quotients that would be long are written as
escapes, so no number costs much.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from experience.bytestream import CodecError, Reader, pack_integers, unpack_integers, varint

ZERO: Final = 31
"""Parameter of a stream that holds only zeros: nothing is written for it."""
_ESCAPE: Final = 24
_LENGTHS: Final = 33

UnsignedArray = npt.NDArray[np.uint32]
ParameterArray = npt.NDArray[np.int64]


def _cost_table() -> npt.NDArray[np.float32]:
    """(33, 32): expected bits for a number of a given bit length (0..32) under each parameter (0..31)."""
    table = np.empty((_LENGTHS, ZERO + 1), np.float32)
    for length in range(_LENGTHS):
        for k in range(ZERO):
            quotient = 0.0 if length <= k else max(0.75 * 2.0 ** (length - k) - 0.5, 1.0)
            table[length, k] = k + 1 + (quotient if quotient < _ESCAPE else _ESCAPE + length)
        table[length, ZERO] = 0.0 if length == 0 else 1e9
    return table


_COSTS: Final = _cost_table()


def costs(streams: UnsignedArray) -> npt.NDArray[np.float32]:
    """(S, 32) estimated bits of each of the streams (S, n) under each parameter."""
    # The exponent of a float is the bit length of the integer; from 2**24 on it may round up, which only misestimates.
    lengths = np.maximum((streams.astype(np.float32).view(np.int32) >> 23) - 126, 0)
    lengths += _LENGTHS * np.arange(len(streams), dtype=np.int32)[:, None]
    histogram = np.bincount(lengths.ravel(), minlength=_LENGTHS * len(streams))
    return histogram.reshape(-1, _LENGTHS).astype(np.float32) @ _COSTS


def pack_streams(streams: UnsignedArray, parameters: ParameterArray) -> bytes:
    """The streams (S, n) as bytes, under parameters (S,) in 0..31; ZERO only for streams of zeros."""
    coded = parameters < ZERO
    numbers, k = streams[coded], parameters[coded]
    if not numbers.size:
        return b""
    quotients = numbers >> k.astype(np.uint32)[:, None]
    escaped = quotients >= _ESCAPE
    tail = b""
    if escaped.any():
        tail = pack_integers(numbers[escaped])
        quotients[escaped] = _ESCAPE
    ends = np.cumsum(quotients.ravel() + np.uint32(1), dtype=np.int64)
    unary = np.zeros(ends[-1], np.uint8)
    unary[ends - 1] = 1
    quotient_bytes = np.packbits(unary).tobytes()
    owners, bits, _ = _bit_planes(k)
    planes = (numbers[owners] >> bits) & np.uint32(1)
    return varint(len(quotient_bytes)) + quotient_bytes + np.packbits(planes.astype(np.uint8)).tobytes() + tail


def unpack_streams(reader: Reader, parameters: ParameterArray, count: int) -> UnsignedArray:
    """Inverse of pack_streams for streams of `count` numbers: (S, count). Raises CodecError."""
    streams = np.zeros((len(parameters), count), np.uint32)
    coded = parameters < ZERO
    k = parameters[coded]
    if not k.size:
        return streams
    unary = np.unpackbits(np.frombuffer(reader.take(reader.varint()), np.uint8))
    ends = unary.view(np.bool_).nonzero()[0]
    if len(ends) != k.size * count:
        raise CodecError("The batch holds another number of values than it should; it was damaged.")
    flat = ends.astype(np.uint32)
    flat[1:] -= flat[:-1] + np.uint32(1)
    quotients = flat.reshape(-1, count)
    numbers = quotients << k.astype(np.uint32)[:, None]
    owners, bits, starts = _bit_planes(k)
    if len(owners):
        packed = np.frombuffer(reader.take((len(owners) * count + 7) // 8), np.uint8)
        planes = np.unpackbits(packed, count=len(owners) * count).reshape(-1, count)
        numbers[k > 0] += np.add.reduceat(planes.astype(np.uint32) << bits, starts, axis=0)
    escaped = quotients >= _ESCAPE
    if escaped.any():
        numbers[escaped] = unpack_integers(reader, int(escaped.sum())).astype(np.uint32)
    streams[coded] = numbers
    return streams


def pack_plainly(numbers: UnsignedArray) -> bytes:
    """A few numbers (n,), all in as many bits as the largest needs."""
    width = int(numbers.max()).bit_length()
    bits = (numbers >> np.arange(width, dtype=np.uint32)[:, None]) & np.uint32(1)
    return bytes([width]) + np.packbits(bits.astype(np.uint8)).tobytes()


def unpack_plainly(reader: Reader, count: int) -> UnsignedArray:
    """Inverse of pack_plainly for `count` numbers. Raises CodecError."""
    width = reader.take(1)[0]
    if width > 32:
        raise CodecError("The batch holds numbers of an unknown width; it was damaged.")
    packed = np.frombuffer(reader.take((width * count + 7) // 8), np.uint8)
    bits = np.unpackbits(packed, count=width * count).reshape(width, count).astype(np.uint32)
    numbers: UnsignedArray = (bits << np.arange(width, dtype=np.uint32)[:, None]).sum(axis=0, dtype=np.uint32)
    return numbers


def _bit_planes(k: ParameterArray) -> tuple[ParameterArray, UnsignedArray, ParameterArray]:
    """For each plane of low bits its stream and its bit (as a column).

    And where each stream's planes begin.
    """
    owners = np.repeat(np.arange(len(k)), k)
    begins = np.cumsum(k) - k
    bits = (np.arange(len(owners)) - begins[owners]).astype(np.uint32)[:, None]
    return owners, bits, begins[k > 0]

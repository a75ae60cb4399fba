"""Batches of experience to self-contained blobs and back, exact to the bit; and the names of the whole codec.

A blob is an envelope (`wire.envelope`) around a body that holds the layout, the runs, then each column as
`wire.columns` writes it. Blobs are stored as they arrive, so a decoder must go on reading every version
that was ever stored. Decoding never raises anything but CodecError, takes memory only within stated
bounds, and returns only what `check_batch` accepts.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from wire.batches import (
    DTYPES,
    MAX_STEPS_PER_BATCH,
    AnyArray,
    Batch,
    CodecError,
    Column,
    EpisodeRecord,
    Float32Array,
    LapRecord,
    Layout,
    Records,
    check_batch,
)
from wire.columns import Reader, pack_integers, pack_matrix, unpack_integers, unpack_matrix, varint
from wire.envelope import open_blob, seal
from wire.frames import FrameError, FrameTooLarge, decode_down, decode_up, encode_frame, encode_text
from wire.messages import MAX_BLOB_BYTES

__all__ = [
    "MAX_BLOB_BYTES",
    "MAX_STEPS_PER_BATCH",
    "Batch",
    "CodecError",
    "Column",
    "EpisodeRecord",
    "FrameError",
    "FrameTooLarge",
    "LapRecord",
    "Layout",
    "decode_batch",
    "decode_down",
    "decode_up",
    "encode_batch",
    "encode_frame",
    "encode_text",
]

_NO_STEP: Final = 0
_STEP_BIAS: Final = 128
_TERMINATED, _TRUNCATED, _LATE = 1, 2, 4
_RECORDS: Final = msgspec.msgpack.Decoder(Records)


def encode_batch(batch: Batch) -> bytes:
    """The batch as a blob. Raises CodecError for a batch that breaks a rule or holds values off its grid."""
    check_batch(batch)
    flags = batch.terminated * np.uint8(_TERMINATED)
    flags |= batch.truncated * np.uint8(_TRUNCATED)
    flags |= batch.late * np.uint8(_LATE)
    body = b"".join(
        (
            _pack_column(batch.layout.observation),
            _pack_column(batch.layout.action),
            varint(batch.steps),
            varint(len(batch.run_lengths)),
            pack_integers(batch.run_lengths),
            pack_integers(batch.run_cars),
            pack_integers(batch.run_first_steps),
            pack_integers(flags),
            pack_integers(batch.policy_versions),
            pack_matrix(_to_integers(batch.observations, batch.layout.observation, "observations")),
            pack_matrix(_to_integers(batch.actions, batch.layout.action, "actions")),
            pack_matrix(batch.rewards.view(np.uint32)[:, None]),
            pack_matrix(batch.action_ages.view(np.uint32)[:, None]),
            msgspec.msgpack.encode(Records(batch.laps, batch.episodes)) if batch.laps or batch.episodes else b"",
        )
    )
    return seal(body)


def decode_batch(data: bytes, layout: Layout | None = None) -> Batch:
    """The batch in a blob; with `layout`, only one that has exactly this layout. Raises CodecError."""
    reader = Reader(open_blob(data))
    found = Layout(_unpack_column(reader), _unpack_column(reader))
    if layout is not None and found != layout:
        raise CodecError(f"The batch has the layout {found}, but this run uses {layout}.")
    steps, runs = reader.varint(), reader.varint()
    if not 1 <= runs <= steps <= MAX_STEPS_PER_BATCH:
        raise CodecError(f"A batch has 1 to {MAX_STEPS_PER_BATCH} steps in at least one run, not {steps} in {runs}.")
    lengths, cars = _signed(reader, runs, np.int32), _signed(reader, runs, np.int32)
    first_steps = _signed(reader, runs, np.int64)
    flags, versions = unpack_integers(reader, steps), unpack_integers(reader, steps)
    if flags.max() > _TERMINATED | _TRUNCATED | _LATE or versions.max() >= 2**32:
        raise CodecError("The batch holds a flag or a policy version that cannot be; it was damaged.")
    observations = _from_integers(reader, steps + runs, found.observation)
    actions = _from_integers(reader, steps, found.action)
    rewards, ages = _float32(reader, steps), _float32(reader, steps)
    records = _unpack_records(reader.rest())
    batch = Batch(
        layout=found,
        run_lengths=lengths,
        run_cars=cars,
        run_first_steps=first_steps,
        observations=observations,
        actions=actions,
        rewards=rewards,
        terminated=(flags & _TERMINATED) != 0,
        truncated=(flags & _TRUNCATED) != 0,
        policy_versions=versions.astype(np.uint32),
        action_ages=ages,
        late=(flags & _LATE) != 0,
        laps=records.laps,
        episodes=records.episodes,
    )
    check_batch(batch)
    return batch


def _pack_column(column: Column) -> bytes:
    exponent = _NO_STEP if column.step is None else math.frexp(column.step)[1] + _STEP_BIAS
    return varint(column.size) + bytes([DTYPES.index(column.dtype), exponent])


def _unpack_column(reader: Reader) -> Column:
    size = reader.varint()
    code, exponent = reader.take(2)
    if code >= len(DTYPES):
        raise CodecError("The batch holds an unknown dtype; it was damaged.")
    return Column(size, DTYPES[code], None if exponent == _NO_STEP else math.ldexp(0.5, exponent - _STEP_BIAS))


def _to_integers(values: AnyArray, column: Column, name: str) -> AnyArray:
    if column.step is None:
        return np.ascontiguousarray(values).view(f"<u{values.itemsize}")
    scaled = values * np.float32(1.0 / column.step)
    with np.errstate(invalid="ignore"):
        integers = scaled.astype(np.int16)
    if not (integers == scaled).all():
        raise CodecError(
            f"The {name} of this batch are not all on their grid of {column.step} (from {-32768 * column.step} to "
            f"{32767 * column.step}); round and clip them where they are made."
        )
    return integers


def _from_integers(reader: Reader, rows: int, column: Column) -> AnyArray:
    if column.step is not None:
        return unpack_matrix(reader, rows, column.size, np.dtype("<i2")) * np.float32(column.step)
    dtype = np.dtype(column.dtype)
    return unpack_matrix(reader, rows, column.size, np.dtype(f"<u{dtype.itemsize}")).view(dtype)


def _float32(reader: Reader, rows: int) -> Float32Array:
    return unpack_matrix(reader, rows, 1, np.dtype("<u4"))[:, 0].view(np.float32)


def _signed(reader: Reader, count: int, dtype: type[np.int32] | type[np.int64]) -> npt.NDArray[Any]:
    values = unpack_integers(reader, count)
    if values.max() > np.iinfo(dtype).max:
        raise CodecError("The batch holds a number that is too large; it was damaged.")
    return values.astype(dtype)


def _unpack_records(data: bytes) -> Records:
    if not data:
        return Records((), ())
    try:
        return _RECORDS.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"The laps or episodes of the batch cannot be read: {error}.") from None

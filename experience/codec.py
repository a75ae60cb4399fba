"""Batches of experience to self-contained blobs and back, exact to the bit.

A blob is an envelope (`experience.envelope`) around a body that holds the layout, the runs, then all columns as
signals of one matrix (`experience.columns`). Blobs are stored as they arrive, so a decoder must go on reading
every version that was ever stored. Decoding never raises anything but CodecError, takes memory only
within stated bounds, and returns only what `check_batch` accepts.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from experience.batches import (
    DTYPES,
    MAX_STEPS_PER_BATCH,
    AnyArray,
    Batch,
    Column,
    EpisodeRecord,
    Float32Array,
    LapRecord,
    Layout,
    Records,
    check_batch,
    check_contents,
    check_size,
)
from experience.bytestream import CodecError, Reader, varint
from experience.columns import Rounded, Rows, pack_matrix, unpack_matrix
from experience.envelope import open_blob, seal
from wire.messages import MAX_BLOB_BYTES

__all__ = [
    "MAX_BLOB_BYTES",
    "MAX_STEPS_PER_BATCH",
    "Batch",
    "CodecError",
    "Column",
    "EpisodeRecord",
    "LapRecord",
    "Layout",
    "decode_batch",
    "encode_batch",
]

_NO_STEP: Final = 0
_STEP_BIAS: Final = 128
_NO_SCALE: Final = 0
_SCALE_BIAS: Final = 128
_MAX_SCALE: Final = 60
_MAX_RATIO: Final = 2**15
_LARGEST_ON_GRID: Final = 2**22
"""Numbers above it are as short as float bits, whose differences are smaller."""
_TERMINATED: Final = np.int32(1)
_TRUNCATED: Final = np.int32(2)
_LATE: Final = np.int32(4)
_MORE_SIGNALS: Final = 4
"""Beside observations and actions: rewards, action ages, flags and policy versions."""
_RECORDS: Final = msgspec.msgpack.Decoder(Records)


def encode_batch(batch: Batch) -> bytes:
    """The batch as a blob. Raises CodecError for a batch that breaks a rule or holds values off its grid."""
    check_batch(batch)
    observation, action = batch.layout.observation, batch.layout.action
    rewards, reward_scale = _float_words(batch.rewards)
    ages, age_scale = _float_words(batch.action_ages)
    flags = batch.terminated * _TERMINATED | batch.truncated * _TRUNCATED | batch.late * _LATE
    rows = Rows(batch.run_lengths)
    signals = observation.words + action.words
    matrix = np.zeros((signals + _MORE_SIGNALS, len(batch.observations)), np.int32)
    matrix[: observation.words] = _to_words(batch.observations, observation, "observations").T
    matrix[observation.words : signals, rows.later] = _to_words(batch.actions, action, "actions").T
    matrix[signals:, rows.later] = (rewards, ages, flags, batch.policy_versions.view(np.int32))
    # What hardly changes begins where it is, so that its first difference is nothing.
    starts = np.cumsum(batch.run_lengths) - batch.run_lengths
    matrix[signals + 1 :, rows.first] = matrix[signals + 1 :, rows.later][:, starts]
    head = (
        _pack_column(observation),
        _pack_column(action),
        varint(batch.steps),
        varint(len(batch.run_lengths)),
        *map(varint, batch.run_lengths.tolist()),
        *map(varint, batch.run_cars.tolist()),
        *map(varint, batch.run_first_steps.tolist()),
        bytes([reward_scale, age_scale]),
    )
    records = msgspec.msgpack.encode(Records(batch.laps, batch.episodes)) if batch.laps or batch.episodes else b""
    return seal(b"".join((*head, pack_matrix(matrix, rows, _hint(batch.layout)), records)))


def decode_batch(data: bytes, layout: Layout | None = None) -> Batch:
    """The batch in a blob; with `layout`, only one that has exactly this layout. Raises CodecError."""
    reader = Reader(open_blob(data))
    found = Layout(_unpack_column(reader), _unpack_column(reader))
    if layout is not None and found != layout:
        raise CodecError(f"The batch has the layout {found}, but this run uses {layout}.")
    lengths, cars, first_steps = _unpack_runs(reader, found)
    reward_scale, age_scale = reader.take(2)
    observation, action = found.observation, found.action
    signals = observation.words + action.words
    rows = Rows(lengths)
    matrix = unpack_matrix(reader, signals + _MORE_SIGNALS, rows)
    records = _unpack_records(reader.rest())
    later = matrix[observation.words :, rows.later]
    rewards, ages, flags, versions = later[action.words :]
    if (flags & ~(_TERMINATED | _TRUNCATED | _LATE)).any():
        raise CodecError("The batch holds an unknown flag; it was damaged.")
    batch = Batch(
        layout=found,
        run_lengths=lengths,
        run_cars=cars,
        run_first_steps=first_steps,
        observations=_from_words(matrix[: observation.words], observation),
        actions=_from_words(later[: action.words], action),
        rewards=_from_float_words(rewards, reward_scale),
        terminated=(flags & _TERMINATED) != 0,
        truncated=(flags & _TRUNCATED) != 0,
        policy_versions=versions.view(np.uint32),
        action_ages=_from_float_words(ages, age_scale),
        late=(flags & _LATE) != 0,
        laps=records.laps,
        episodes=records.episodes,
    )
    check_contents(batch)
    return batch


def _unpack_runs(
    reader: Reader, layout: Layout
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    steps, runs = reader.varint(), reader.varint()
    if not 1 <= runs <= steps <= MAX_STEPS_PER_BATCH:
        raise CodecError(f"A batch has 1 to {MAX_STEPS_PER_BATCH} steps in at least one run, not {steps} in {runs}.")
    check_size(layout, steps, runs)
    lengths, cars, first_steps = ([reader.varint() for _ in range(runs)] for _ in range(3))
    if min(lengths) < 1 or sum(lengths) != steps:
        raise CodecError("The run lengths of the batch do not add up; it was damaged.")
    if max(cars) >= 2**31 or max(first_steps) >= 2**63:
        raise CodecError("The batch holds a number that is too large; it was damaged.")
    return np.array(lengths, np.int32), np.array(cars, np.int32), np.array(first_steps, np.int64)


def _pack_column(column: Column) -> bytes:
    exponent = _NO_STEP if column.step is None else math.frexp(column.step)[1] + _STEP_BIAS
    return varint(column.size) + bytes([DTYPES.index(column.dtype), exponent])


def _unpack_column(reader: Reader) -> Column:
    size = reader.varint()
    code, exponent = reader.take(2)
    if code >= len(DTYPES):
        raise CodecError("The batch holds an unknown dtype; it was damaged.")
    return Column(size, DTYPES[code], None if exponent == _NO_STEP else math.ldexp(0.5, exponent - _STEP_BIAS))


def _hint(layout: Layout) -> Rounded | None:
    """Observations often repeat the last action on their own, coarser grid."""
    observation, action = layout.observation, layout.action
    if observation.step is None or action.step is None or not 1 <= observation.step / action.step <= _MAX_RATIO:
        return None
    shift = math.frexp(observation.step / action.step)[1] - 1
    return Rounded(range(observation.size, observation.size + action.size), range(observation.size), shift)


def _to_words(values: AnyArray, column: Column, name: str) -> npt.NDArray[np.int32]:
    """Rows of values (n, size) as (n, words) int32."""
    if column.step is None:
        values = np.ascontiguousarray(values)
        words: npt.NDArray[np.int32] = values.view(f"<i{min(values.itemsize, 4)}").astype(np.int32)
        return words
    scaled = values * np.float32(1.0 / column.step)
    with np.errstate(invalid="ignore"):
        integers = scaled.astype(np.int16)
    if not (integers == scaled).all():
        if not np.isfinite(values).all():
            raise CodecError(f"The {name} of this batch hold NaN or an infinite number; fix their source.")
        raise CodecError(
            f"The {name} of this batch are not all on their grid of {column.step} (from {-32768 * column.step} to "
            f"{32767 * column.step}); round and clip them where they are made."
        )
    return integers.astype(np.int32)


def _from_words(signals: npt.NDArray[np.int32], column: Column) -> AnyArray:
    """Inverse of _to_words from signals (words, n), whatever they hold: (n, size) of the column's dtype."""
    words = np.ascontiguousarray(signals.T)
    if column.step is not None:
        return words.astype(np.int16) * np.float32(column.step)
    dtype = np.dtype(column.dtype)
    return words.astype(f"<i{min(dtype.itemsize, 4)}", copy=False).view(dtype)


def _float_words(values: Float32Array) -> tuple[npt.NDArray[np.int32], int]:
    """Floats (n,) as integers and the scale that makes them so.

    Their own grid where they have one, else their bits.
    """
    words = values.view(np.int32)
    # All zero, or a number that needs 23 bits: too long for a grid to help.
    if not np.bitwise_or.reduce(words) or np.bitwise_or.reduce(words) & 3:
        return words, _NO_SCALE
    mantissas, exponents = np.frexp(values)
    integers = (mantissas * np.float32(2**24)).astype(np.int32)
    lowest = np.frexp((integers & -integers).astype(np.float32))[1]
    scale = 25 - int((exponents + lowest).min(where=integers != 0, initial=25))
    if abs(scale) > _MAX_SCALE:
        return words, _NO_SCALE
    scaled = np.ldexp(values.astype(np.float64), scale)
    if np.abs(scaled).max() >= _LARGEST_ON_GRID or np.signbit(values[integers == 0]).any():
        return words, _NO_SCALE
    return scaled.astype(np.int32), scale + _SCALE_BIAS


def _from_float_words(words: npt.NDArray[np.int32], scale: int) -> Float32Array:
    if scale == _NO_SCALE:
        return words.view(np.float32)
    return np.ldexp(words.astype(np.float64), _SCALE_BIAS - scale).astype(np.float32)


def _unpack_records(data: bytes) -> Records:
    if not data:
        return Records((), ())
    try:
        return _RECORDS.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"The laps or episodes of the batch cannot be read: {error}.") from None

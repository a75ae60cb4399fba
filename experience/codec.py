"""Batches of experience to self-contained blobs and back, exact to the bit.

A blob is the letters "AT", a version, the length of a head, the head, the columns squeezed by zstd, and a CRC-32 of all
before it. The head (MessagePack, in the clear) says the layout, the runs and the records, so that a decoder knows how
many bytes the columns have before it allocates any: what it costs is linear in what an honest batch of that shape
costs. A column is integers (k on its grid, else the number's own bits), each row less the row before, column after
column, the lowest bytes of all first.

Blobs are stored as they arrive, so a decoder goes on reading every version that was ever stored: `_DECODERS` has one
for each. Decoding never raises anything but CodecError, and returns only what `check_batch` accepts.
"""

import math
import threading
import zlib
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard
from msgspec import Meta

from experience.batches import DTYPES, AnyArray, Float32Array, check_batch, check_contents, check_size
from experience.batches import MAX_STEPS_PER_BATCH as MAX_STEPS_PER_BATCH
from experience.batches import Batch as Batch
from experience.batches import CodecError as CodecError
from experience.batches import Column as Column
from experience.batches import EpisodeRecord as EpisodeRecord
from experience.batches import LapRecord as LapRecord
from experience.batches import Layout as Layout
from wire.messages import MAX_BLOB_BYTES

VERSION: Final = 2
"""The version that is written. 1 was a predictor-and-Rice coder, of which nothing was ever deployed."""
_MAGIC: Final = b"AT"
_LENGTH_BYTES: Final = 4
_CRC_BYTES: Final = 4
_HEAD_AT: Final = len(_MAGIC) + 1 + _LENGTH_BYTES
_LEVEL: Final = 3
_TERMINATED: Final = 1
_TRUNCATED: Final = 2
_OFF_PERIOD: Final = 4
_FLOAT_STEP: Final = 2.0**-14
"""Rewards and ages that all lie on this grid travel as its integers, whose high bytes are nearly all zero."""
_FLOAT_BOUND: Final = 2.0**9
"""Within it, every number of that grid is exact in float32 (24 bits)."""

_Integer = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Integers = Annotated[list[_Integer], Meta(min_length=1, max_length=MAX_STEPS_PER_BATCH)]
_ColumnHead = tuple[_Integer, Annotated[int, Meta(ge=0, le=len(DTYPES) - 1)], int | None]


class _Local(threading.local):
    """A thread's own compressor and decompressor, neither of which two threads may use at once."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        self.compressor = zstandard.ZstdCompressor(compression_params=parameters)
        self.decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)


_local = _Local()


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What of a batch stands in the clear; columns as (size, place in DTYPES, exponent of the grid's step)."""

    observation: _ColumnHead
    action: _ColumnHead
    run_lengths: _Integers
    run_cars: _Integers
    run_first_steps: _Integers
    gridded: tuple[bool, bool]
    """Whether rewards, and ages, travel as integers of _FLOAT_STEP."""
    laps: Annotated[tuple[LapRecord, ...], Meta(max_length=MAX_STEPS_PER_BATCH)]
    episodes: Annotated[tuple[EpisodeRecord, ...], Meta(max_length=MAX_STEPS_PER_BATCH)]


_HEADS: Final = msgspec.msgpack.Decoder(_Head)


def encode_batch(batch: Batch) -> bytes:
    """The batch as a blob. Raises CodecError for a batch that breaks a rule or holds values off its grid."""
    check_batch(batch)
    observation, action = batch.layout.observation, batch.layout.action
    flags = batch.terminated * np.uint8(_TERMINATED) | batch.truncated * np.uint8(_TRUNCATED)
    rewards, rewards_gridded = _float_integers(batch.rewards)
    ages, ages_gridded = _float_integers(batch.action_ages)
    parts = (
        _to_integers(batch.observations, observation, "observations"),
        _to_integers(batch.actions, action, "actions"),
        rewards,
        ages,
        flags | batch.off_period * np.uint8(_OFF_PERIOD),
        batch.policy_versions,
    )
    head = msgspec.msgpack.encode(
        _Head(
            _column_head(observation),
            _column_head(action),
            batch.run_lengths.tolist(),
            batch.run_cars.tolist(),
            batch.run_first_steps.tolist(),
            (rewards_gridded, ages_gridded),
            batch.laps,
            batch.episodes,
        )
    )
    squeezed = _local.compressor.compress(b"".join(map(_shuffled, parts)))
    blob = b"".join((_MAGIC, bytes([VERSION]), len(head).to_bytes(_LENGTH_BYTES, "little"), head, squeezed))
    blob += zlib.crc32(blob).to_bytes(_CRC_BYTES, "little")
    if len(blob) > MAX_BLOB_BYTES:
        raise CodecError(
            f"The encoded batch has {len(blob)} bytes, more than {MAX_BLOB_BYTES}; send fewer steps in one."
        )
    return blob


def decode_batch(data: bytes, layout: Layout | None = None) -> Batch:
    """The batch in a blob; with `layout`, only one that has exactly this layout. Raises CodecError."""
    if data[: len(_MAGIC)] != _MAGIC or len(data) < _HEAD_AT + _CRC_BYTES:
        raise CodecError("These bytes are not an experience batch.")
    if len(data) > MAX_BLOB_BYTES:
        raise CodecError(f"The batch has {len(data)} bytes, more than the {MAX_BLOB_BYTES} that are allowed.")
    decoder = _DECODERS.get(data[len(_MAGIC)])
    if decoder is None:
        raise CodecError(
            f"The batch is written in version {data[len(_MAGIC)]} of the format, but this program reads "
            f"{', '.join(map(str, _DECODERS))}; bring both sides to one version."
        )
    if zlib.crc32(data[:-_CRC_BYTES]) != int.from_bytes(data[-_CRC_BYTES:], "little"):
        raise CodecError("The batch was cut or damaged on its way: its checksum is wrong.")
    return decoder(data[len(_MAGIC) + 1 : -_CRC_BYTES], layout)


def _decode_v2(content: bytes, layout: Layout | None) -> Batch:
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        head = _HEADS.decode(content[_LENGTH_BYTES:end])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"The head of the batch cannot be read: {error}.") from None
    found = Layout(_column(head.observation), _column(head.action))
    if layout is not None and found != layout:
        raise CodecError(f"The batch has the layout {found}, but this run uses {layout}.")
    # With an empty run, no count of steps is right.
    runs, steps = len(head.run_lengths), sum(head.run_lengths) if all(head.run_lengths) else 0
    check_size(found, steps, runs)
    if len(head.run_cars) != runs or len(head.run_first_steps) != runs or max(head.run_cars) >= 2**31:
        raise CodecError("The runs of the batch contradict each other; it was damaged.")
    shapes = (
        (steps + runs, found.observation.size, _integer_dtype(found.observation)),
        (steps, found.action.size, _integer_dtype(found.action)),
        *((steps, 1, np.dtype(dtype)) for dtype in ("<i4", "<i4", "u1", "<u4")),
    )
    observations, actions, rewards, ages, flags, versions = _unsqueeze(content[end:], shapes)
    flags = flags[:, 0]
    if (flags & ~np.uint8(_TERMINATED | _TRUNCATED | _OFF_PERIOD)).any():
        raise CodecError("The batch holds an unknown flag; it was damaged.")
    batch = Batch(
        layout=found,
        run_lengths=np.array(head.run_lengths, np.int32),
        run_cars=np.array(head.run_cars, np.int32),
        run_first_steps=np.array(head.run_first_steps, np.int64),
        observations=_from_integers(observations, found.observation),
        actions=_from_integers(actions, found.action),
        rewards=_from_float_integers(rewards[:, 0], head.gridded[0]),
        terminated=(flags & _TERMINATED) != 0,
        truncated=(flags & _TRUNCATED) != 0,
        policy_versions=versions[:, 0].astype(np.uint32),
        action_ages=_from_float_integers(ages[:, 0], head.gridded[1]),
        off_period=(flags & _OFF_PERIOD) != 0,
        laps=head.laps,
        episodes=head.episodes,
    )
    check_contents(batch)
    return batch


_DECODERS: Final = {2: _decode_v2}


def _shuffled(rows: npt.NDArray[Any]) -> bytes:
    """Integers (n,) or (n, size): each row less the one before, column after column, byte by byte of significance."""
    differences = rows.copy()
    differences[1:] -= rows[:-1]
    columns = np.ascontiguousarray(differences.T).reshape(-1)
    return columns.view(np.uint8).reshape(-1, rows.itemsize).T.tobytes()


def _unsqueeze(squeezed: bytes, shapes: tuple[tuple[int, int, np.dtype[Any]], ...]) -> list[npt.NDArray[Any]]:
    """Inverse of `_shuffled` and zstd for columns of these (rows, size, dtype), which say how many bytes to expect."""
    sizes = [rows * size * dtype.itemsize for rows, size, dtype in shapes]
    total = sum(sizes)
    try:
        # The library would trust a size written in the frame over our limit.
        known = zstandard.get_frame_parameters(squeezed, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
        if known not in (zstandard.CONTENTSIZE_UNKNOWN, total):
            raise CodecError("The batch contradicts itself about its size; it was damaged.")
        body = _local.decompressor.decompress(squeezed, max_output_size=total, allow_extra_data=False)
    except zstandard.ZstdError:
        raise CodecError("The batch cannot be decompressed; it was damaged.") from None
    if len(body) != total:
        raise CodecError("The batch contradicts itself about its size; it was damaged.")
    arrays, begin = [], 0
    for (rows, size, dtype), length in zip(shapes, sizes, strict=True):
        planes = np.frombuffer(body, np.uint8, length, begin).reshape(dtype.itemsize, -1)
        columns = np.ascontiguousarray(planes.T).view(dtype).reshape(size, rows)
        arrays.append(np.cumsum(columns, axis=1, dtype=dtype).T)
        begin += length
    return arrays


def _column_head(column: Column) -> _ColumnHead:
    exponent = None if column.step is None else math.frexp(column.step)[1]
    return column.size, DTYPES.index(column.dtype), exponent


def _column(head: _ColumnHead) -> Column:
    size, code, exponent = head
    if exponent is None:
        return Column(size, DTYPES[code])
    if not -64 <= exponent <= 64:
        raise CodecError("The batch names a grid that no column can have; it was damaged.")
    return Column(size, DTYPES[code], math.ldexp(0.5, exponent))


def _integer_dtype(column: Column) -> np.dtype[Any]:
    """The little-endian integers that a column travels as."""
    return np.dtype("<i2" if column.step is not None else f"<i{np.dtype(column.dtype).itemsize}")


def _to_integers(values: AnyArray, column: Column, name: str) -> npt.NDArray[Any]:
    """Rows of values (n, size) as integers of the same shape."""
    if column.step is None:
        bits: npt.NDArray[Any] = np.ascontiguousarray(values).view(_integer_dtype(column))
        return bits
    scaled = values * np.float32(1.0 / column.step)
    with np.errstate(invalid="ignore"):
        integers = scaled.astype("<i2")
    if not (integers == scaled).all():
        if not np.isfinite(values).all():
            raise CodecError(f"The {name} of this batch hold NaN or an infinite number; fix their source.")
        raise CodecError(
            f"The {name} of this batch are not all on their grid of {column.step} (from {-32768 * column.step} to "
            f"{32767 * column.step}); round and clip them where they are made."
        )
    return integers


def _from_integers(integers: npt.NDArray[Any], column: Column) -> AnyArray:
    """Inverse of _to_integers, whatever the integers are: (n, size) of the column's dtype."""
    rows = np.ascontiguousarray(integers)
    return rows.view(np.dtype(column.dtype)) if column.step is None else rows * np.float32(column.step)


def _float_integers(values: Float32Array) -> tuple[npt.NDArray[np.int32], bool]:
    """Floats (n,) as integers of _FLOAT_STEP and True where that is exact to the bit; else their own bits and False."""
    bits = values.view("<i4")
    if np.abs(values).max() < _FLOAT_BOUND:
        integers = np.rint(values / np.float32(_FLOAT_STEP)).astype("<i4")
        if (_from_float_integers(integers, gridded=True).view("<i4") == bits).all():
            return integers, True
    return bits, False


def _from_float_integers(integers: npt.NDArray[np.int32], gridded: bool) -> Float32Array:
    integers = np.ascontiguousarray(integers)
    return integers.astype(np.float32) * np.float32(_FLOAT_STEP) if gridded else integers.view(np.float32)

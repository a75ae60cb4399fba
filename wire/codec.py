"""Batches of experience to self-contained blobs and back, exact to the bit; and the names of the whole codec.

A blob is: the letters "AT", a version byte, the body's length, the body squeezed by zstd, and a CRC-32 of
all before it. The body holds the layout, the runs, then each column as `wire.columns` writes it. Blobs
are stored as they arrive, so a decoder must go on reading every version that was ever stored. Decoding
never raises anything but CodecError, takes memory only within MAX_RAW_BYTES, and returns only what
`check_batch` accepts.
"""

from __future__ import annotations

import math
import threading
import zlib
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from wire.batches import (
    DTYPES,
    MAX_RAW_BYTES,
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

_MAGIC: Final = b"AT"
_VERSION: Final = 1
_CRC_BYTES: Final = 4
_LEVEL: Final = 3
_MAX_BODY_BYTES: Final = 2 * MAX_RAW_BYTES
_NO_STEP: Final = 0
_STEP_BIAS: Final = 128
_TERMINATED, _TRUNCATED, _LATE = 1, 2, 4
_RECORDS: Final = msgspec.msgpack.Decoder(Records)
_local = threading.local()


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
    blob = _MAGIC + bytes([_VERSION]) + varint(len(body)) + _compressor().compress(body)
    blob += zlib.crc32(blob).to_bytes(_CRC_BYTES, "little")
    if len(blob) > MAX_BLOB_BYTES:
        raise CodecError(
            f"The encoded batch has {len(blob)} bytes, more than {MAX_BLOB_BYTES}; send fewer steps in one."
        )
    return blob


def decode_batch(data: bytes, layout: Layout | None = None) -> Batch:
    """The batch in a blob; with `layout`, only one that has exactly this layout. Raises CodecError."""
    reader = Reader(_open(data))
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


def _open(blob: bytes) -> bytes:
    if blob[:2] != _MAGIC or len(blob) < len(_MAGIC) + 1 + _CRC_BYTES:
        raise CodecError("These bytes are not an experience batch.")
    if len(blob) > MAX_BLOB_BYTES:
        raise CodecError(f"The batch has {len(blob)} bytes, more than the {MAX_BLOB_BYTES} that are allowed.")
    if blob[2] != _VERSION:
        raise CodecError(
            f"The batch is written in version {blob[2]} of the format, but this program reads version {_VERSION}; "
            "bring both sides to one version."
        )
    content = blob[:-_CRC_BYTES]
    if zlib.crc32(content) != int.from_bytes(blob[-_CRC_BYTES:], "little"):
        raise CodecError("The batch was cut or damaged on its way: its checksum is wrong.")
    reader = Reader(content)
    reader.take(3)
    size, squeezed = reader.varint(), reader.rest()
    if size > _MAX_BODY_BYTES:
        raise CodecError(f"The batch would unpack to {size} bytes, more than the {_MAX_BODY_BYTES} that are allowed.")
    try:
        known = zstandard.get_frame_parameters(squeezed, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
        # The library would trust a size written in the frame over our limit.
        if known not in (zstandard.CONTENTSIZE_UNKNOWN, size):
            raise CodecError("The batch contradicts itself about its size; it was damaged.")
        body = _decompressor().decompress(squeezed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        raise CodecError("The batch cannot be decompressed; it was damaged.") from None
    if len(body) != size:
        raise CodecError("The batch contradicts itself about its size; it was damaged.")
    return body


def _compressor() -> zstandard.ZstdCompressor:
    compressor: zstandard.ZstdCompressor | None = getattr(_local, "compressor", None)
    if compressor is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
        )
        compressor = _local.compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    decompressor: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if decompressor is None:
        decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        _local.decompressor = decompressor
    return decompressor


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

"""The envelope of an experience blob: says what it is and in which version, squeezes it and shows any damage.

A blob is the letters "AT", a version byte, the body's length, the body squeezed by zstd, and a CRC-32 of
all before it. Opening one takes memory only within MAX_BODY_BYTES, whatever it claims. What a body means
is `experience.codec`'s affair.
"""

from __future__ import annotations

import threading
import zlib
from typing import Final

import zstandard

from experience.bytestream import CodecError, Reader, varint
from wire.messages import MAX_BLOB_BYTES

VERSION: Final = 1
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_MAGIC: Final = b"AT"
_CRC_BYTES: Final = 4
_LEVEL: Final = 3
_local = threading.local()


def seal(body: bytes) -> bytes:
    """The body as a blob. Raises CodecError when it is too large."""
    squeezed = _compressor().compress(body)
    # What zstd cannot shorten stands as it is, with no length.
    content = varint(len(body)) + squeezed if len(squeezed) < len(body) else varint(0) + body
    blob = _MAGIC + bytes([VERSION]) + content
    blob += zlib.crc32(blob).to_bytes(_CRC_BYTES, "little")
    if len(blob) > MAX_BLOB_BYTES:
        raise CodecError(
            f"The encoded batch has {len(blob)} bytes, more than {MAX_BLOB_BYTES}; send fewer steps in one."
        )
    return blob


def open_blob(blob: bytes) -> bytes:
    """The body that was sealed.

    Raises CodecError for anything but a whole, undamaged blob of this version.
    """
    if blob[:2] != _MAGIC or len(blob) < len(_MAGIC) + 1 + _CRC_BYTES:
        raise CodecError("These bytes are not an experience batch.")
    if len(blob) > MAX_BLOB_BYTES:
        raise CodecError(f"The batch has {len(blob)} bytes, more than the {MAX_BLOB_BYTES} that are allowed.")
    if blob[2] != VERSION:
        raise CodecError(
            f"The batch is written in version {blob[2]} of the format, but this program reads version {VERSION}; "
            "bring both sides to one version."
        )
    content = blob[:-_CRC_BYTES]
    if zlib.crc32(content) != int.from_bytes(blob[-_CRC_BYTES:], "little"):
        raise CodecError("The batch was cut or damaged on its way: its checksum is wrong.")
    reader = Reader(content)
    reader.take(3)
    size, squeezed = reader.varint(), reader.rest()
    if not size:
        return squeezed
    if size > MAX_BODY_BYTES:
        raise CodecError(f"The batch would unpack to {size} bytes, more than the {MAX_BODY_BYTES} that are allowed.")
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

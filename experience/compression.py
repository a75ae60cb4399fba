"""Bodies of answers, compressed: pictures go over a person's uplink in a tenth of their bytes.

A compressed body is one zstandard frame that tells the size of its content, the body; no other body begins as such a
frame does. Who asks reads both; who answers chooses, and what is asked is never compressed.
"""

from typing import Final

import zstandard

from experience.values import ValuesError
from wire.messages import MAX_BLOB_BYTES

MIN_BYTES: Final = 1024
"""Less than this goes into one packet as it is."""
# Higher levels gain a few per cent of the bytes and cost a fifth more (docs/performance.md).
_LEVEL: Final = 1
_MAGIC: Final = zstandard.FRAME_HEADER


def compressed(body: bytes) -> bytes:
    """The body, compressed where that makes it smaller."""
    if len(body) < MIN_BYTES:
        return body
    smaller = zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    return smaller if len(smaller) < len(body) else body


def decompressed(body: bytes) -> bytes:
    """The body as it was. Raises ValuesError, also for one that would have more than MAX_BLOB_BYTES."""
    if not body.startswith(_MAGIC):
        return body
    try:
        size = zstandard.frame_content_size(body)
        if not 0 < size <= MAX_BLOB_BYTES:
            raise ValuesError(f"A compressed body says that it has {size} bytes; it has 1 to {MAX_BLOB_BYTES}.")
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_BLOB_BYTES, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValuesError(f"A compressed body cannot be read ({error}).") from None

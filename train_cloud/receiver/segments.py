"""Segments: stretches of one stream's batches, as they lie in the bucket.

A segment is one zstd frame (with its checksum) around a MessagePack map; it carries what a new instance needs to go on
with the stream: who it is, how many steps came before, and each batch with the id that ordered it over all streams.
Decoding refuses anything damaged. Nothing here talks to the bucket.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import zstandard

from train_cloud.run_folder.keys import EXPERIENCE
from train_cloud.store import StoredBatch, StreamState

FORMAT: Final = "ac-training.segment.v1"
MAX_SEGMENT_BYTES: Final = 8 * 2**20
"""Batches are added to a segment until it holds this many bytes."""
_MAX_DECODED_BYTES: Final = 4 * MAX_SEGMENT_BYTES
_KEY: Final = re.compile(EXPERIENCE + r"([0-9a-f]{32})/([0-9]{12})-([0-9]{12})\.zst")


class SegmentError(ValueError):
    """A segment is damaged; the text says how."""


class SegmentKey(msgspec.Struct, frozen=True, order=True):
    """What a segment's key says: batches first..last of a stream."""

    stream: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{EXPERIENCE}{self.stream}/{self.first:012d}-{self.last:012d}.zst"


class _Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    id: int
    number: int
    steps: int
    blob: bytes


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=FORMAT, tag_field="format"):
    """Batches of one stream with contiguous numbers; steps_before counts the stream's steps before the first."""

    stream: str
    bridge: str
    signature: str
    steps_before: int
    records: list[_Record]
    spaces: str = ""
    """Canonical JSON of what the rows hold."""

    @property
    def key(self) -> SegmentKey:
        """Where it belongs in the run's folder."""
        return SegmentKey(self.stream, self.records[0].number, self.records[-1].number)

    def batches(self) -> list[StoredBatch]:
        """The batches, in the order of their numbers."""
        return [StoredBatch(r.id, self.stream, r.number, r.steps, r.blob) for r in self.records]


_DECODER: Final = msgspec.msgpack.Decoder(Segment)


def parse_key(key: str) -> SegmentKey | None:
    """What `key` (relative to the run's folder) names, or None when it is no segment's."""
    match = _KEY.fullmatch(key)
    if match is None or not 1 <= int(match[2]) <= int(match[3]):
        return None
    return SegmentKey(match[1], int(match[2]), int(match[3]))


def make_segment(stream: str, state: StreamState, batches: Sequence[StoredBatch]) -> Segment:
    """The segment of `batches`, the first ones of `stream` that are not safe yet (see StreamState)."""
    records = [_Record(batch.id, batch.number, batch.steps, batch.blob) for batch in batches]
    return Segment(stream, state.bridge, state.signature, state.safe_steps, records, state.spaces)


def encode_segment(segment: Segment) -> bytes:
    """The segment as the bytes of an object."""
    # The blobs are compressed already: the lowest level takes what little is left in the frame around them.
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(msgspec.msgpack.encode(segment))


def decode_segment(data: bytes, key: SegmentKey) -> Segment:
    """The segment in the object at `key`. Raises SegmentError when it is damaged or another one."""
    try:
        content = zstandard.get_frame_parameters(data).content_size
        if content > _MAX_DECODED_BYTES:
            raise SegmentError(f"it claims to hold {content} bytes, more than any segment")
        segment = _DECODER.decode(zstandard.ZstdDecompressor().decompress(data))
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise SegmentError(f"it is damaged ({error})") from None
    numbers = [record.number for record in segment.records]
    if segment.stream != key.stream or numbers != list(range(key.first, key.last + 1)):
        raise SegmentError("it does not hold the batches that its name says")
    return segment

"""Raw pages in a compressed file and back, so that what one user saw can be played and reproduced elsewhere.

The file: 8 bytes MAGIC, then blocks: 4 bytes length, little-endian, and so many bytes of a zstandard frame with its
checksum. A block's content is records: kind (1 byte), time (f64, s), length (u16), bytes. Promises bounded memory, a
file that is whole up to its last block when the writer dies, and a sentence for a file that is damaged. It writes what
it is given, as it is; who calls it must not be the control loop.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, Self

import zstandard

MAGIC = b"ACPAGES1"
_BLOCK_BYTES = 1 << 18
_LARGEST_BLOCK = 1 << 20
"""Content of a block at most; a length beyond it is damage, not a recording."""
_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<BdH")


class PageKind(IntEnum):
    """Which page a record holds; CAR and CONTROLS are CSP's."""

    STATIC = 1
    PHYSICS = 2
    GRAPHICS = 3
    CAR = 4
    CONTROLS = 5


class RecordingDamaged(ValueError):
    """The file is no recording, or is damaged; the text says where and what can be done."""


@dataclass(frozen=True, slots=True)
class Record:
    """One page at one moment: its kind, the time in s on the recorder's clock, its bytes."""

    kind: PageKind
    time: float
    data: bytes


class RecordingWriter:
    """Writes a recording, over an existing one, of `bytes_written` so far; every method raises the disk's OSError."""

    def __init__(self, path: Path) -> None:
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        self._block = bytearray()
        self._file: BinaryIO = path.open("wb")
        self._file.write(MAGIC)
        self.bytes_written = len(MAGIC)

    def write(self, record: Record) -> None:
        """Append a record; what is not in a whole block yet is on disk after `flush`."""
        self._block += _RECORD.pack(record.kind, record.time, len(record.data))
        self._block += record.data
        if len(self._block) >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Close the present block and put it into the file."""
        if not self._block:
            return
        frame = self._compressor.compress(bytes(self._block))
        self._block.clear()
        self._file.write(_LENGTH.pack(len(frame)) + frame)
        self._file.flush()
        self.bytes_written += _LENGTH.size + len(frame)

    def close(self) -> None:
        """Write what is left and close the file; safe to call twice."""
        if not self._file.closed:
            with self._file:
                self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RecordingReader:
    """The records of a recording, in the order in which they were written; iterate it as often as needed.

    `cut_short`: the latest iteration met the file's end within a block, as when the recorder was killed. Raises
    RecordingDamaged: the file cannot be read, or is no recording; while iterating, that it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut_short = False
        with self._open():
            pass

    def __iter__(self) -> Iterator[Record]:
        self.cut_short = False
        with self._open() as file:
            while head := file.read(_LENGTH.size):
                at = file.tell() - len(head)
                length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
                if length > _LARGEST_BLOCK:
                    raise self._damaged(at)
                frame = file.read(length)
                if len(head) < _LENGTH.size or len(frame) < length:
                    self.cut_short = True
                    return
                yield from self._records(frame, at)

    def _open(self) -> BinaryIO:
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise RecordingDamaged(f"The recording {self._path} cannot be opened: {error.strerror}.") from error
        if file.read(len(MAGIC)) != MAGIC:
            file.close()
            raise RecordingDamaged(
                f"{self._path} is no recording of the game's pages. Give a file that `ac-bridge record` wrote."
            )
        return file

    def _records(self, frame: bytes, at: int) -> Iterator[Record]:
        try:
            # A frame that names its size is given that much memory, whatever the most allowed is.
            if zstandard.frame_content_size(frame) > _LARGEST_BLOCK:
                raise self._damaged(at)
            content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=_LARGEST_BLOCK)
        except zstandard.ZstdError:
            raise self._damaged(at) from None
        start = 0
        while start < len(content):
            try:
                kind, moment, length = _RECORD.unpack_from(content, start)
                record = Record(PageKind(kind), moment, content[start + _RECORD.size : start + _RECORD.size + length])
            except (struct.error, ValueError):
                raise self._damaged(at) from None
            if len(record.data) < length:
                raise self._damaged(at)
            start += _RECORD.size + length
            yield record

    def _damaged(self, at: int) -> RecordingDamaged:
        return RecordingDamaged(
            f"The recording {self._path} is damaged at byte {at}; what came before it was read. Copy the file again "
            "from where it was made, or record anew."
        )

"""Pages that were recorded, published again byte for byte at their own times.

Reads a plain file of records, each `<dBI` (time in s, page number as in PAGES, length) and the page's bytes; `write`
makes one, so that a recording of any format can be turned into it. At the end the last pages stay, as those of a game
that hangs.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

PAGES = ("physics", "graphics", "static", "car")
_HEADER = struct.Struct("<dBI")


def write(path: Path, records: Iterable[tuple[float, str, bytes]]) -> None:
    """Write records of time in s (rising), page's name and bytes."""
    with path.open("wb") as file:
        for seconds, page, data in records:
            file.write(_HEADER.pack(seconds, PAGES.index(page), len(data)) + data)


class Playback:
    """A file being played. Attributes: over, nothing is left."""

    def __init__(self, path: Path) -> None:
        self._records = _records(path.read_bytes())
        self._next = next(self._records, None)
        self._now = self._next[0] if self._next else 0.0

    @property
    def over(self) -> bool:
        """Whether every record has been played."""
        return self._next is None

    def advance(self, seconds: float) -> Iterator[tuple[str, bytes]]:
        """The pages that were written in the next `seconds`."""
        self._now += seconds
        while self._next is not None and self._next[0] <= self._now:
            yield self._next[1], self._next[2]
            self._next = next(self._records, None)


def _records(data: bytes) -> Iterator[tuple[float, str, bytes]]:
    at = 0
    while at < len(data):
        seconds, page, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size + length
        yield seconds, PAGES[page], data[at - length : at]

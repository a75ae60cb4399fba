"""Memory shared with other processes: a file of a fixed size in a folder such as /dev/shm, mapped and read by name.

Promises that a page is written in one go unless told to tear it, and that a page found again after its file was
replaced is the new one. Names of fields and their offsets come from a table (offsets.py).
"""

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Any

from tests.fake_ac.offsets import Fields

Value = float | int | str | tuple[float, ...]


class Layout:
    """A page's fields as compiled formats."""

    def __init__(self, fields: Fields, size: int) -> None:
        self.size = size
        self._texts = {name: (int(form[:-1]), at) for name, (form, at) in fields.items() if form.endswith("w")}
        self._numbers = {
            name: (struct.Struct("<" + form), at) for name, (form, at) in fields.items() if not form.endswith("w")
        }

    def put(self, page: bytearray, values: dict[str, Value]) -> None:
        """Write these fields into a page; struct.error or KeyError where one does not fit."""
        for name, value in values.items():
            if isinstance(value, str):
                length, at = self._texts[name]
                # The last character stays zero, as a C string's.
                page[at : at + 2 * length] = value[: length - 1].encode("utf-16-le").ljust(2 * length, b"\0")
            elif isinstance(value, tuple):
                packer, at = self._numbers[name]
                packer.pack_into(page, at, *value)
            else:
                packer, at = self._numbers[name]
                packer.pack_into(page, at, value)

    def get(self, page: bytes, name: str) -> Any:
        """One field: a number, a tuple of numbers, or a string up to its first zero."""
        if name in self._texts:
            length, at = self._texts[name]
            return page[at : at + 2 * length].decode("utf-16-le").partition("\0")[0]
        packer, at = self._numbers[name]
        values = packer.unpack_from(page, at)
        return values[0] if len(values) == 1 else values


class Page:
    """A mapped page: made by `create`, or found by `find` when another process made it."""

    def __init__(self, path: Path, memory: mmap.mmap, inode: int) -> None:
        self.path = path
        self._memory = memory
        self._inode = inode

    @staticmethod
    def create(path: Path, size: int) -> "Page":
        """Make the file, or take the one that a game left behind when it crashed, as the mirrors of Proton do."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size)
            return Page(path, mmap.mmap(descriptor, size), os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)

    @staticmethod
    def find(path: Path, size: int) -> "Page | None":
        """The page that somebody else made; None while there is none of that size."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            found = os.fstat(descriptor)
            if found.st_size < size:
                return None
            return Page(path, mmap.mmap(descriptor, size), found.st_ino)
        finally:
            os.close(descriptor)

    @property
    def replaced(self) -> bool:
        """Whether another file has the name by now; a removed one still counts as there, like a held mapping."""
        try:
            return self.path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def write(self, data: bytes | bytearray) -> None:
        """Replace the whole page."""
        self._memory[:] = bytes(data)

    def write_torn(self, data: bytes | bytearray, seconds: float, head_first: bool) -> None:
        """Replace half of the page, wait, and replace the other half."""
        half = len(data) // 2
        parts = [slice(0, half), slice(half, len(data))]
        first, last = parts if head_first else parts[::-1]
        self._memory[first] = bytes(data[first])
        time.sleep(seconds)
        self._memory[last] = bytes(data[last])

    def read(self) -> bytes:
        """A copy of the page."""
        return self._memory[:]

    def remove(self) -> None:
        """Take the name away; who has mapped the page keeps what is in it."""
        self._memory.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the page and leave the file."""
        self._memory.close()

"""Files that are there whole or not at all, and that nobody but their owner ever could read.

Only the standard library is needed: guards run this before there is anything else.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_private(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `file` at once and completely, in place of what is there; readable by its owner alone, or as `mode` says.

    On Windows, which knows no such mode, the folder's rights hold. When this returns the content is on the disk, and so
    is its name where the file system can promise that. Raises OSError, and `file` is then as it was.
    """
    with _draft(file, content) as draft:
        draft.chmod(mode)
        draft.replace(file)
    _sync_name(file)


def create_private(file: Path, content: bytes) -> bool:
    """Like `write_private`, but what is there stays; whether it was this call that made `file`. Raises OSError."""
    with _draft(file, content) as draft:
        try:
            # Unlike a rename, a link does not replace what is there.
            os.link(draft, file)
        except FileExistsError:
            return False
    _sync_name(file)
    return True


def locked(file: Path, seconds: float = 0.0) -> sqlite3.Connection | None:
    """Hold `file`, which is made, until the answer is closed or this process dies.

    None where another one still holds it after `seconds`. An exclusive transaction of SQLite is a lock that every
    system has. Raises sqlite3.OperationalError where no file can be made.
    """
    lock = sqlite3.connect(file, timeout=seconds, isolation_level=None, check_same_thread=False)
    try:
        # Else a journal is written beside it, which takes a place on the disk that may be full.
        lock.execute("PRAGMA journal_mode = MEMORY")
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return None
    return lock


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk; what was renamed or made there then outlives a power cut.

    Windows has no such call, and its file system does it by itself. Raises OSError.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_name(file: Path) -> None:
    # Who cannot (some shared file systems, folders that may not be read) has the file all the same.
    with suppress(OSError):
        sync_folder(file.parent)


@contextmanager
def _draft(file: Path, content: bytes) -> Iterator[Path]:
    """A file of this content beside `file`, of a name that nobody looks for; gone at the end, whatever happens."""
    # 0600 from the first byte, and a name of its own for each of several writers.
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".draft", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)

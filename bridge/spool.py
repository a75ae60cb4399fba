"""The gaming PC's memory of its experience until that is safe: numbered batches in a SQLite file.

Promises that a batch whose `append` returned survives SIGKILL and a power cut (WAL, synchronous=FULL), that the
numbers of a stream have no gaps, that nothing is forgotten before the receiver called it safe, and that one process at
a time uses a folder. It knows nothing of what a batch holds, nor of the network.
"""

import errno
import logging
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from experience.sink import SinkFull
from runtime.files import locked
from runtime.logs import fields
from runtime.sqlite_schema import Migrations, SchemaError, migrate, transaction

DEFAULT_LIMIT_BYTES = 2 * 2**30
_ROW_BYTES = 64
"""What a row costs beside its blob, about; keeps a spool of tiny batches within its limit too."""
_RESERVE_BYTES = 2**20
"""Given back to a full disk so that forgetting, which must write before it frees anything, still works."""
_FORGET_AT_ONCE = 200
"""Batches deleted in one transaction, so that the reserve covers what one writes."""
_FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})

_MIGRATIONS: Final[Migrations] = {
    # IF NOT EXISTS, because files from before versions were kept have these tables and say version 0.
    1: (
        "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS cars (car INTEGER PRIMARY KEY, steps INTEGER NOT NULL)",
        "CREATE TABLE IF NOT EXISTS batches (position INTEGER PRIMARY KEY, steps INTEGER NOT NULL, "
        "steps_through INTEGER NOT NULL, blob BLOB NOT NULL)",
    ),
}
"""What leads to each version of the tables. A version that was ever released is never changed: add the next one."""

_log = logging.getLogger(__name__)


class SpoolError(RuntimeError):
    """The spool cannot be used; the text says why and what to do."""


class SpoolFull(SpoolError, SinkFull):
    """No room for another batch, on the disk or within the limit; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SpooledBatch:
    """One batch as it waits: its number in the stream, its steps, its bytes, and all steps ever appended through it."""

    number: int
    steps: int
    blob: bytes
    steps_through: int


@dataclass(frozen=True, slots=True)
class SpoolPosition:
    """Where a spool stands at one moment: its name, its stream, and how many steps ever lie in which batches."""

    bridge: str
    stream: str
    safe_through: int
    safe_steps: int
    last_number: int
    total_steps: int


class Spool:
    """Numbered batches of one stream in `folder`, which is made if it does not exist.

    All methods may be called from any thread. `stream`, `last_number`, `safe_through` and `total_steps` are plain
    attributes, right as of the last commit. `folder` holds spool.db, spool.lock and spool.reserve (1 MiB); the batches
    may take `limit_bytes` in all. Raises SpoolFull when the disk has no room to begin with, and SpoolError when another
    process uses the folder, it cannot be written or read, or a newer program made its file.
    """

    def __init__(self, folder: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Whoever catches the error must find the folder free again.
            with ExitStack() as opened:
                self._lock = opened.enter_context(closing(_locked(folder)))
                self._writer = opened.enter_context(closing(_open(folder / "spool.db")))
                self._writer.execute("PRAGMA journal_mode=WAL")
                self._writer.execute("PRAGMA synchronous=FULL")
                self._reader = opened.enter_context(closing(_open(folder / "spool.db")))
                self._load()
                self._reserve = folder / "spool.reserve"
                self._keep_reserve()
                opened.pop_all()
        except SchemaError as error:
            raise SpoolError(str(error)) from error
        except (OSError, sqlite3.Error) as error:
            kind = SpoolFull if _disk_is_full(error, folder) else SpoolError
            raise kind(
                f"the spool in {folder} cannot be opened ({error}). Experience waits there until it is safe; "
                "free the disk or name another folder with --spool."
            ) from error
        self._writing = threading.RLock()
        self._reading = threading.Lock()

    def _load(self) -> None:
        migrate(self._writer, _MIGRATIONS, f"The spool in {self.folder}")
        with transaction(self._writer):
            for name, value in (("stream", uuid.uuid4().hex), ("bridge", uuid.uuid4().hex[:12])):
                self._writer.execute("INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)", (name, value))
        known = dict(self._writer.execute("SELECT name, value FROM facts"))
        self.stream: str = known["stream"]
        self.bridge: str = known["bridge"]
        """Name of this spool's bridge, made once; survives a fresh stream."""
        self.signature: str | None = known.get("signature")
        self.car: str | None = known.get("car")
        """The game's car that was driven for this spool last; None before the first."""
        self.last_number: int = known.get("last_number", 0)
        self.safe_through: int = known.get("safe_through", 0)
        self.total_steps: int = known.get("total_steps", 0)
        # A batch's position in the file never changes; its number counts from where its stream began.
        self._offset: int = known.get("offset", 0)
        self._car_steps: dict[int, int] = dict(self._writer.execute("SELECT car, steps FROM cars"))
        (self.used_bytes,) = self._writer.execute(
            "SELECT COALESCE(SUM(LENGTH(blob) + ?), 0) FROM batches", (_ROW_BYTES,)
        ).fetchone()

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        """Commit an encoded batch of so many steps and return its number, the one after the last.

        `steps_by_car` says how many of the steps each car made, and advances `steps_of_car`. Raises SpoolFull when
        there is no room; nothing was changed then.
        """
        with self._writing:
            if self.used_bytes + len(blob) + _ROW_BYTES > self.limit_bytes:
                raise SpoolFull(f"the spool holds {self.used_bytes / 2**20:.0f} MiB, which is its limit")
            number, total = self.last_number + 1, self.total_steps + steps
            car_steps = {car: self.steps_of_car(car) + more for car, more in (steps_by_car or {}).items()}
            with self._full_disk_told(), transaction(self._writer):
                self._writer.execute(
                    "INSERT INTO batches (position, steps, steps_through, blob) VALUES (?, ?, ?, ?)",
                    (self._offset + number, steps, total, blob),
                )
                self._writer.executemany("INSERT OR REPLACE INTO cars (car, steps) VALUES (?, ?)", car_steps.items())
                self._set(last_number=number, total_steps=total)
            self._car_steps.update(car_steps)
            self.used_bytes += len(blob) + _ROW_BYTES
            self.last_number, self.total_steps = number, total
            return number

    def steps_of_car(self, car: int) -> int:
        """How many steps of this car were ever appended: the index of its next one."""
        return self._car_steps.get(car, 0)

    def read(self, number: int) -> SpooledBatch | None:
        """The batch of this number; None when it was forgotten or never was."""
        with self._reading:
            row = self._reader.execute(
                "SELECT steps, blob, steps_through FROM batches WHERE position = ?", (self._offset + number,)
            ).fetchone()
        return None if row is None else SpooledBatch(number, *row)

    def steps_after(self, number: int) -> int:
        """How many of the appended steps lie in batches after this number."""
        with self._reading:
            row = self._reader.execute(
                "SELECT steps_through - steps FROM batches WHERE position > ? ORDER BY position LIMIT 1",
                (self._offset + number,),
            ).fetchone()
        return 0 if row is None else self.total_steps - int(row[0])

    def position(self) -> SpoolPosition:
        """Where it stands, all of one moment; waits for a batch that is being committed."""
        with self._writing:
            safe_steps = self.total_steps - self.steps_after(self.safe_through)
            return SpoolPosition(
                self.bridge, self.stream, self.safe_through, safe_steps, self.last_number, self.total_steps
            )

    def forget_through(self, stream: str, number: int) -> None:
        """Delete the batches up to this number, which the receiver calls safe; nothing of another stream than ours.

        Raises SpoolFull when the disk is too full even for that; the batches stay, ask again later.
        """
        with self._writing:
            number = min(number, self.last_number) if stream == self.stream else 0
            while self.safe_through < number:
                through = min(number, self.safe_through + _FORGET_AT_ONCE)
                try:
                    self._forget_slice(through)
                except SpoolFull:
                    if not self._reserve.exists():
                        raise
                    self._reserve.unlink()
                    self._forget_slice(through)
            self._keep_reserve()

    def _forget_slice(self, through: int) -> None:
        (freed,) = self._writer.execute(
            "SELECT COALESCE(SUM(LENGTH(blob) + ?), 0) FROM batches WHERE position <= ?",
            (_ROW_BYTES, self._offset + through),
        ).fetchone()
        with self._full_disk_told(), transaction(self._writer):
            self._writer.execute("DELETE FROM batches WHERE position <= ?", (self._offset + through,))
            self._set(safe_through=through)
        self.used_bytes -= freed
        self.safe_through = through

    def _keep_reserve(self) -> None:
        if self._reserve.exists():
            return
        try:
            self._reserve.write_bytes(bytes(_RESERVE_BYTES))
        except OSError:
            # A reserve that does not fit is given up at once; it would be taken from the batches.
            self._reserve.unlink(missing_ok=True)

    def bind_signature(self, signature: str) -> None:
        """Say what task the batches belong to; raises SpoolError while batches of another task still wait here."""
        with self._writing:
            if signature == self.signature:
                return
            if self.last_number > self.safe_through and self.signature is not None:
                raise SpoolError(
                    f"the spool in {self.folder} still holds {self.steps_after(self.safe_through)} steps of "
                    f"another task ({self.signature}); this drive's task is {signature}. Name another folder "
                    "with --spool, or delete this one to give those steps up."
                )
            with self._full_disk_told(), transaction(self._writer):
                self._set(signature=signature)
            self.signature = signature

    def note_car(self, model: str) -> None:
        """Remember what car of the game is driven for this spool."""
        with self._writing:
            if model != self.car:
                with self._full_disk_told(), transaction(self._writer):
                    self._set(car=model)
                self.car = model

    def start_fresh_stream(self, reason: str) -> SpoolPosition:
        """Take a new stream id and number what is not safe yet from 1 in it; returns where it stands then."""
        with self._writing:
            stream, offset = uuid.uuid4().hex, self._offset + self.safe_through
            left = self.last_number - self.safe_through
            with self._full_disk_told(), transaction(self._writer):
                self._set(stream=stream, offset=offset, last_number=left, safe_through=0)
            _log.warning(
                "the stream starts afresh: what was not safe yet is sent again",
                extra=fields(reason=reason, old=self.stream, new=stream, batches=left),
            )
            # The id first, so that nobody takes the new numbers for those of the old stream.
            self.stream, self._offset, self.last_number, self.safe_through = stream, offset, left, 0
            return self.position()

    def close(self) -> None:
        """Release the folder; safe to call twice."""
        with self._writing, self._reading:
            for connection in (self._reader, self._writer, self._lock):
                connection.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set(self, **values: str | int) -> None:
        self._writer.executemany("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", values.items())

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # The low byte is the primary code; a full disk shows as FULL or, on some file systems, as IOERR.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _FULL_CODES:
                raise SpoolFull(f"the disk under {self.folder} takes no more ({error})") from error
            raise


def _disk_is_full(error: OSError | sqlite3.Error, folder: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    # A full disk has several names in SQLite, which other troubles share; only the disk itself can tell.
    told = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return told == sqlite3.SQLITE_FULL or (told in _FULL_CODES and shutil.disk_usage(folder).free < _RESERVE_BYTES)


def _open(path: Path, timeout: float = 5.0) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout, isolation_level=None, check_same_thread=False)


def _locked(folder: Path) -> sqlite3.Connection:
    lock = locked(folder / "spool.lock")
    if lock is None:
        raise SpoolError(
            f"another bridge already uses the spool in {folder}. One process drives a spool at a time: "
            "end that one, or name another folder with --spool."
        )
    return lock

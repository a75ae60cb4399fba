"""How the store's file is opened: its tables by version, its settings, the way in for those who only read, its errors.

What the tables mean is store.py's. What opens the file raises SQLite's own errors, which `errors_as_sentences` puts
into words.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from runtime.sqlite_schema import Migrations, SchemaError, check_version, migrate

PAGE_BYTES = 4096
BUSY_SECONDS = 30.0
"""How long a call waits for another process to finish its transaction."""

MIGRATIONS: Final[Migrations] = {
    # IF NOT EXISTS, because files from before versions were kept have these tables and say version 0.
    1: (
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS streams ("
        "stream TEXT PRIMARY KEY, bridge TEXT NOT NULL, signature TEXT NOT NULL, "
        "stored_through INTEGER NOT NULL DEFAULT 0, safe_through INTEGER NOT NULL DEFAULT 0, "
        "stored_steps INTEGER NOT NULL DEFAULT 0, safe_steps INTEGER NOT NULL DEFAULT 0)",
        "CREATE TABLE IF NOT EXISTS batches ("
        "id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL REFERENCES streams, number INTEGER NOT NULL, "
        "steps INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (stream, number))",
        "CREATE TABLE IF NOT EXISTS weights ("
        "serial INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL, sha256 TEXT NOT NULL, "
        "blob BLOB NOT NULL)",
        "CREATE TABLE IF NOT EXISTS progress ("
        "only INTEGER PRIMARY KEY CHECK (only = 1), trained_steps INTEGER NOT NULL, "
        "consumed_steps INTEGER NOT NULL, updates INTEGER NOT NULL, state TEXT NOT NULL)",
    ),
    2: (
        "ALTER TABLE streams ADD COLUMN spaces TEXT NOT NULL DEFAULT ''",
        "CREATE TABLE checkpoints (steps INTEGER PRIMARY KEY, needed_from INTEGER NOT NULL)",
        "CREATE TABLE bridges ("
        "stream TEXT PRIMARY KEY, bridge TEXT NOT NULL, role TEXT NOT NULL, software TEXT NOT NULL, "
        "connected INTEGER NOT NULL, heard_at REAL NOT NULL, policy_version INTEGER NOT NULL, "
        "steps_per_second REAL NOT NULL, unsent_steps INTEGER NOT NULL, off_period_steps INTEGER NOT NULL, "
        "action_age REAL, round_trip REAL)",
        "CREATE TABLE tracks (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL, safe INTEGER NOT NULL DEFAULT 0)",
    ),
    # Whatever is asked often must not be reckoned over all streams, of which a peer decides how many there are.
    3: (
        "CREATE TABLE totals ("
        "only INTEGER PRIMARY KEY CHECK (only = 1), stored_steps INTEGER NOT NULL, safe_steps INTEGER NOT NULL)",
        "INSERT INTO totals SELECT 1, COALESCE(SUM(stored_steps), 0), COALESCE(SUM(safe_steps), 0) FROM streams",
        "CREATE TRIGGER streams_inserted AFTER INSERT ON streams BEGIN UPDATE totals SET "
        "stored_steps = stored_steps + new.stored_steps, safe_steps = safe_steps + new.safe_steps; END",
        "CREATE TRIGGER streams_updated AFTER UPDATE OF stored_steps, safe_steps ON streams BEGIN UPDATE totals SET "
        "stored_steps = stored_steps + new.stored_steps - old.stored_steps, "
        "safe_steps = safe_steps + new.safe_steps - old.safe_steps; END",
        "CREATE TRIGGER streams_deleted AFTER DELETE ON streams BEGIN UPDATE totals SET "
        "stored_steps = stored_steps - old.stored_steps, safe_steps = safe_steps - old.safe_steps; END",
        "CREATE INDEX unsafe_streams ON streams (stream) WHERE safe_through < stored_through",
        "CREATE INDEX bridges_heard ON bridges (heard_at)",
    ),
    4: ("ALTER TABLE bridges ADD COLUMN real_time INTEGER NOT NULL DEFAULT 0",),
    5: (
        "CREATE TABLE points ("
        "id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, steps INTEGER NOT NULL, life INTEGER NOT NULL, "
        "content BLOB NOT NULL)",
        "CREATE TABLE report (only INTEGER PRIMARY KEY CHECK (only = 1), content BLOB NOT NULL)",
        "CREATE TABLE beats (process TEXT PRIMARY KEY, at REAL NOT NULL, state TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE laps ("
        "id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, steps INTEGER NOT NULL, version INTEGER NOT NULL, "
        "time REAL NOT NULL, sectors BLOB NOT NULL)",
        "CREATE TABLE traces (kind TEXT PRIMARY KEY, content BLOB NOT NULL)",
        "CREATE TABLE spots (source TEXT PRIMARY KEY, content BLOB NOT NULL)",
    ),
}
"""What leads to each version of the tables. A version that was ever released is never changed: add the next one."""


class StoreError(Exception):
    """The store cannot do what was asked; the text is a sentence."""


class StoreFull(StoreError):
    """The disk, or the store's size limit, has no room for the write; nothing of it was kept."""


class StoreFile:
    """A database at `path`, created when it is not there; any number of threads and processes may use it at once.

    Two more files lie beside it while it is in use. It may take `max_bytes`; None for what the disk has. With
    `read_only` it must be there and stays as it is: methods that would write raise StoreError, and what others commit
    meanwhile is seen. Methods raise StoreFull when there is no room, else StoreError, and so does a file that cannot be
    used or that a program of another version made.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None, read_only: bool = False) -> None:
        self.path = Path(path)
        self._max_bytes, self._read_only = max_bytes, read_only
        self._local = threading.local()
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Threads that write take turns by it: SQLite lets who waits sleep for up to 0.1 s between two looks."""
        self._connections: list[tuple[sqlite3.Connection, threading.RLock]] = []
        """Each with a lock that its thread holds while it uses it: closed under a query, it would end the process."""
        self._closed = False
        if read_only and not self.path.is_file():
            raise StoreError(
                f"There is no store at {self.path} to read. The receiver or the trainer makes it when it starts: start "
                "one of them, or name the folder that they use."
            )
        try:
            with errors_as_sentences(self.path):
                prepare = check_version if read_only else migrate
                prepare(self.connection(), MIGRATIONS, f"The store {self.path}")
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections of every thread; the store must not be used afterwards."""
        with self._lock:
            self._closed = True
            for connection, in_use in self._connections:
                with in_use:
                    connection.close()
            self._connections.clear()

    def size_bytes(self) -> int:
        """Size of the database's files on the disk, the write-ahead log included (bytes)."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        """What a query answers."""
        with errors_as_sentences(self.path), self.using() as connection:
            return connection.execute(sql, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed at the end of the block unless it raises; within another of this thread, part of it.

        What raises within the inner block must be let through by the outer one.
        """
        if self._read_only:
            raise StoreError(f"The store {self.path} was opened for reading only, so nothing can be written to it.")
        with errors_as_sentences(self.path):
            outer = self.connection()
            within = outer.in_transaction
        if within:
            yield outer
            return
        with self._turn, errors_as_sentences(self.path), self.using() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                # SQLite rolls back by itself for some errors (a full disk among them) and not for others.
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """This thread's own connection, which `close` leaves alone inside the block."""
        connection = self.connection()
        with self._local.in_use:
            yield connection

    def connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._closed:
                raise StoreError(f"The store {self.path} is closed.")
            reading = self._read_only
            connection = open_for_reading(self.path) if reading else open_for_writing(self.path, self._max_bytes)
            self._local.connection, self._local.in_use = connection, threading.RLock()
            with self._lock:
                self._connections.append((connection, self._local.in_use))
        return connection


def open_for_writing(path: Path, max_bytes: int | None) -> sqlite3.Connection:
    """A connection in autocommit mode whose commits are on the disk; makes the file when it is not there."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
        if max_bytes is not None:
            connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // PAGE_BYTES)}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that SQLite itself keeps from writing, and from making the file."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=True)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL; a file that another process is just making is waited for."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Here SQLite's own timeout does not count: two that both switch would wait for each other.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def errors_as_sentences(path: Path) -> Iterator[None]:
    """SQLite's errors, and those of a file that a newer program made, as StoreError about the store at `path`."""
    try:
        yield
    except SchemaError as error:
        raise StoreError(str(error)) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        # No room shows as FULL when a page is written and as an I/O error when the WAL's index must grow.
        if code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StoreFull(
                f"The store {path} could not be written ({error}): the disk or the store's size limit is "
                "full. Free some space; nothing that was acknowledged is lost."
            ) from error
        raise StoreError(f"The store {path} cannot be used ({error}).") from error

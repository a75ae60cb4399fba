"""How the store's file is opened: its tables by version, its settings, and the way in for those who only read.

What the tables mean is store.py's. Errors are SQLite's own, which store.py puts into sentences.
"""

import sqlite3
import time
from pathlib import Path
from typing import Final

from runtime.sqlite_schema import Migrations

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
    2: ("ALTER TABLE streams ADD COLUMN spaces TEXT NOT NULL DEFAULT ''",),
}
"""What leads to each version of the tables. A version that was ever released is never changed: add the next one."""


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

"""The instance's memory: a SQLite database (WAL, synchronous=FULL) that the receiver and the trainer meet in.

It promises that every batch is stored once per (stream, number), that a stream's numbers are contiguous, and
that what a method has returned from is on the disk. Any number of threads and processes may use it at once. It does
not look inside blobs and knows nothing of S3 beyond the position up to which each stream is safe there.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096
WEIGHTS_KEPT = 3
DONE_STATE = "done"
"""State of a trainer that has trained all of the run and ends."""
BUSY_SECONDS = 30.0
"""How long a call waits for another process to finish its transaction."""
_CHECKPOINT_REQUESTS = "checkpoint_requested"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    stream TEXT PRIMARY KEY, bridge TEXT NOT NULL, signature TEXT NOT NULL,
    stored_through INTEGER NOT NULL DEFAULT 0, safe_through INTEGER NOT NULL DEFAULT 0,
    stored_steps INTEGER NOT NULL DEFAULT 0, safe_steps INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL REFERENCES streams, number INTEGER NOT NULL,
    steps INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (stream, number));
CREATE TABLE IF NOT EXISTS weights (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL,
    sha256 TEXT NOT NULL, blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS progress (
    only INTEGER PRIMARY KEY CHECK (only = 1), trained_steps INTEGER NOT NULL,
    consumed_steps INTEGER NOT NULL, updates INTEGER NOT NULL, state TEXT NOT NULL);
"""


class StoreError(Exception):
    """The store cannot do what was asked; the text is a sentence."""


class StoreFull(StoreError):
    """The disk, or the store's size limit, has no room for the write; nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class IncomingBatch:
    """A batch to store: `number` counts from 1 within `stream`; `steps` are those of the blob."""

    stream: str
    number: int
    steps: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as stored; `id` is the order in which the instance accepted it, over all streams."""

    id: int
    stream: str
    number: int
    steps: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a stream stands: 1..stored_through are committed here, 1..safe_through are in S3 (0 = none).

    stored_steps and safe_steps are the steps of those batches, counted over the whole life of the run.
    """

    bridge: str
    signature: str
    stored_through: int
    safe_through: int
    stored_steps: int
    safe_steps: int


@dataclass(frozen=True, slots=True)
class WeightsRow:
    """Weights from the trainer; `serial` counts publications and never goes back, as a version may."""

    serial: int
    version: int
    sha256: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class TrainerProgress:
    """How far the trainer is, in environment steps and gradient updates.

    `state` is a word for people, but DONE_STATE is one for programs too.
    """

    trained_steps: int = 0
    consumed_steps: int = 0
    updates: int = 0
    state: str = "starting"


class Store:
    """The database at `path`, created when it is not there.

    Every thread gets a connection of its own. Methods raise StoreFull when there is no room, else StoreError.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        with _errors_as_sentences(self.path):
            # In one transaction: receiver and trainer may create the tables at the same moment.
            self._connection().executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """Close the connections of every thread; the store must not be used afterwards."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def register_stream(self, stream: str, bridge: str, signature: str) -> StreamState:
        """Make `stream` known (again) and return where it stands; writes only what is new."""
        known = self.streams().get(stream)
        if known is not None and (known.bridge, known.signature) == (bridge, signature):
            return known
        with self._writing() as db:
            db.execute(
                "INSERT INTO streams (stream, bridge, signature) VALUES (?, ?, ?) "
                "ON CONFLICT (stream) DO UPDATE SET bridge = excluded.bridge, signature = excluded.signature",
                (stream, bridge, signature),
            )
        return self.streams()[stream]

    def add_batches(self, batches: Sequence[IncomingBatch]) -> dict[str, int]:
        """Store `batches` in one transaction and return stored_through of every stream among them.

        A number that is stored already is passed over, and so is one that would leave a gap: both show in the
        answer. Raises StoreError when a stream was never registered, StoreFull when there is no room (nothing of the
        transaction is kept).
        """
        through: dict[str, int] = {}
        with self._writing() as db:
            for batch in batches:
                if batch.stream not in through:
                    row = db.execute("SELECT stored_through FROM streams WHERE stream = ?", (batch.stream,)).fetchone()
                    if row is None:
                        raise StoreError(f"The stream {batch.stream} is not registered, so it cannot have batches.")
                    through[batch.stream] = row[0]
                if batch.number != through[batch.stream] + 1:
                    continue
                db.execute(
                    "INSERT INTO batches (stream, number, steps, blob) VALUES (?, ?, ?, ?)",
                    (batch.stream, batch.number, batch.steps, batch.blob),
                )
                db.execute(
                    "UPDATE streams SET stored_through = ?, stored_steps = stored_steps + ? WHERE stream = ?",
                    (batch.number, batch.steps, batch.stream),
                )
                through[batch.stream] = batch.number
        return through

    def streams(self) -> dict[str, StreamState]:
        """Every known stream and where it stands."""
        rows = self._rows(
            "SELECT stream, bridge, signature, stored_through, safe_through, stored_steps, safe_steps FROM streams"
        )
        return {row[0]: StreamState(*row[1:]) for row in rows}

    def total_steps(self) -> int:
        """Steps stored over the whole life of the run, those of restored streams included."""
        return int(self._rows("SELECT COALESCE(SUM(stored_steps), 0) FROM streams")[0][0])

    def read_batches(self, after_id: int, limit: int) -> list[StoredBatch]:
        """Up to `limit` batches with id > after_id, in id order."""
        rows = self._rows(
            "SELECT id, stream, number, steps, blob FROM batches WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [StoredBatch(*row) for row in rows]

    def positions(self) -> list[tuple[int, str, int, int]]:
        """(id, stream, number, steps) of every batch, newest first, without the blobs."""
        return self._rows("SELECT id, stream, number, steps FROM batches ORDER BY id DESC")

    def unsafe_batches(self, stream: str, limit: int, max_bytes: int = 2**63 - 1) -> list[StoredBatch]:
        """Batches of `stream` that are not in S3 yet, in the order of their numbers, from the first one.

        No more than `limit`, and no further one once their blobs hold `max_bytes`.
        """
        batches: list[StoredBatch] = []
        size = 0
        with _errors_as_sentences(self.path):
            rows = self._connection().execute(
                "SELECT id, stream, number, steps, blob FROM batches WHERE stream = ? AND number > "
                "(SELECT safe_through FROM streams WHERE stream = ?) ORDER BY number LIMIT ?",
                (stream, stream, limit),
            )
            for row in rows:
                batches.append(StoredBatch(*row))
                size += len(batches[-1].blob)
                if size >= max_bytes:
                    break
            rows.close()
        return batches

    def mark_safe(self, stream: str, through: int) -> None:
        """Note that the batches of `stream` up to number `through` are in S3; it never goes back."""
        with self._writing() as db:
            db.execute(
                "UPDATE streams SET safe_steps = safe_steps + (SELECT COALESCE(SUM(steps), 0) FROM batches "
                "WHERE stream = :stream AND number > safe_through AND number <= :through), "
                "safe_through = :through "
                "WHERE stream = :stream AND safe_through < :through AND stored_through >= :through",
                {"stream": stream, "through": through},
            )

    def is_ready(self) -> bool:
        """Whether the receiver has finished restoring: positions and batches here are the run's."""
        return self.meta("ready") == "1"

    def set_ready(self) -> None:
        """Say that restoring is finished (or that there was nothing to restore)."""
        self.set_meta("ready", "1")

    def restore_batches(self, streams: dict[str, StreamState], batches: Iterable[StoredBatch]) -> None:
        """Replace everything by what S3 holds: positions of all streams and batches under their own ids."""
        with self._writing() as db:
            db.execute("DELETE FROM batches")
            db.execute("DELETE FROM streams")
            db.executemany(
                "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        name,
                        s.bridge,
                        s.signature,
                        s.stored_through,
                        s.safe_through,
                        s.stored_steps,
                        s.safe_steps,
                    )
                    for name, s in streams.items()
                ],
            )
            db.executemany(
                "INSERT INTO batches (id, stream, number, steps, blob) VALUES (?, ?, ?, ?, ?)",
                ((b.id, b.stream, b.number, b.steps, b.blob) for b in batches),
            )

    def put_weights(self, version: int, blob: bytes, sha256: str) -> None:
        """Publish weights; the newest few are kept."""
        with self._writing() as db:
            db.execute("INSERT INTO weights (version, sha256, blob) VALUES (?, ?, ?)", (version, sha256, blob))
            db.execute("DELETE FROM weights WHERE serial <= (SELECT MAX(serial) FROM weights) - ?", (WEIGHTS_KEPT,))

    def latest_weights(self, newer_than: int = 0) -> WeightsRow | None:
        """The newest weights when their serial is above `newer_than`, else None."""
        rows = self._rows(
            "SELECT serial, version, sha256, blob FROM weights WHERE serial > ? ORDER BY serial DESC LIMIT 1",
            (newer_than,),
        )
        return WeightsRow(*rows[0]) if rows else None

    def put_progress(self, progress: TrainerProgress) -> None:
        """Say how far the trainer is."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?, ?)",
                (progress.trained_steps, progress.consumed_steps, progress.updates, progress.state),
            )

    def progress(self) -> TrainerProgress:
        """How far the trainer is; zeros before it has said so."""
        rows = self._rows("SELECT trained_steps, consumed_steps, updates, state FROM progress")
        return TrainerProgress(*rows[0]) if rows else TrainerProgress()

    def meta(self, key: str) -> str | None:
        """A noted fact about the store itself, such as `run_id`; None when it was never noted."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the store itself."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def size_bytes(self) -> int:
        """Size of the database's files on the disk, the write-ahead log included (bytes)."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def request_checkpoint(self) -> int:
        """Ask the trainer to save a checkpoint at once; returns how many were asked for, this one included."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, '1') ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                (_CHECKPOINT_REQUESTS,),
            )
        return self.checkpoint_requests()

    def checkpoint_requests(self) -> int:
        """How many checkpoints were asked for so far: a higher number than before is a new request."""
        return int(self.meta(_CHECKPOINT_REQUESTS) or 0)

    def _rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        with _errors_as_sentences(self.path):
            return self._connection().execute(sql, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _errors_as_sentences(self.path):
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                # SQLite rolls back by itself for some errors (a full disk among them) and not for others.
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            _enter_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
            if self._max_bytes is not None:
                connection.execute(f"PRAGMA max_page_count = {max(1, self._max_bytes // PAGE_BYTES)}")
            self._local.connection = connection
            with self._lock:
                self._connections.append(connection)
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
def _errors_as_sentences(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        # No room shows as FULL when a page is written and as an I/O error when the WAL's index must grow.
        if code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StoreFull(
                f"The store {path} could not be written ({error}): the disk or the store's size limit is "
                "full. Free some space; nothing that was acknowledged is lost."
            ) from error
        raise StoreError(f"The store {path} cannot be used ({error}).") from error

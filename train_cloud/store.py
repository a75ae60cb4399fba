"""The instance's memory: a SQLite database (WAL, synchronous=FULL) that the receiver and the trainer meet in.

It promises that every batch is stored once per (stream, number), that a stream's numbers are contiguous, and
that what a method has returned from is on the disk. Any number of threads and processes may use it at once. It does
not look inside blobs and knows nothing of S3 beyond the position up to which each stream is safe there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate

from train_cloud.run_folder.states import TrainerState
from train_cloud.store_file import StoreError as StoreError
from train_cloud.store_file import StoreFile, errors_as_sentences
from train_cloud.store_file import StoreFull as StoreFull

WEIGHTS_KEPT = 3
PRUNED_BYTES = 4 * 2**20
_STATE = "bridge, signature, stored_through, safe_through, stored_steps, safe_steps, spaces"
_CHECKPOINT_REQUESTS = "checkpoint_requested"
_CHECKPOINTS_NOTED = 2
"""Pruning leaves what the newest checkpoint needs and what the one before needs, which a resume may fall back to."""


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

    stored_steps and safe_steps are the steps of those batches, counted over the whole life of the run. `spaces` is the
    canonical JSON of what its rows hold.
    """

    bridge: str
    signature: str
    stored_through: int
    safe_through: int
    stored_steps: int
    safe_steps: int
    spaces: str = ""


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

    `state` is a word for people, but TrainerState.DONE is one for programs too.
    """

    trained_steps: int = 0
    consumed_steps: int = 0
    updates: int = 0
    state: str = TrainerState.STARTING


class Store(StoreFile):
    """The database at `path`, created when it is not there; StoreFile says how it is opened and shared."""

    def register_stream(self, stream: str, bridge: str, signature: str, spaces: str = "") -> StreamState:
        """Make `stream` known (again) and return where it stands; writes only what is new."""
        known = self.stream(stream)
        if known is not None and (known.bridge, known.signature, known.spaces) == (bridge, signature, spaces):
            return known
        with self.writing() as db:
            db.execute(
                "INSERT INTO streams (stream, bridge, signature, spaces) VALUES (?, ?, ?, ?) ON CONFLICT (stream) "
                "DO UPDATE SET bridge = excluded.bridge, signature = excluded.signature, spaces = excluded.spaces",
                (stream, bridge, signature, spaces),
            )
        found = self.stream(stream)
        assert found is not None
        return found

    def add_batches(self, batches: Sequence[IncomingBatch]) -> dict[str, int]:
        """Store `batches` in one transaction and return stored_through of every stream among them.

        A number that is stored already is passed over, and so is one that would leave a gap: both show in the
        answer. Raises StoreError when a stream was never registered, StoreFull when there is no room (nothing of the
        transaction is kept).
        """
        through: dict[str, int] = {}
        with self.writing() as db:
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
        """Every known stream and where it stands; there may be very many."""
        return {row[0]: StreamState(*row[1:]) for row in self.rows(f"SELECT stream, {_STATE} FROM streams")}

    def stream(self, stream: str) -> StreamState | None:
        """Where one stream stands; None when it is not known."""
        rows = self.rows(f"SELECT {_STATE} FROM streams WHERE stream = ?", (stream,))
        return StreamState(*rows[0]) if rows else None

    def unsafe_streams(self) -> list[str]:
        """The streams with batches that are not in S3 yet."""
        return [row[0] for row in self.rows("SELECT stream FROM streams WHERE safe_through < stored_through")]

    def first_spaces(self) -> list[str]:
        """The spaces of the first stream that has any; empty while there is none."""
        return [row[0] for row in self.rows("SELECT spaces FROM streams WHERE spaces <> '' ORDER BY rowid LIMIT 1")]

    def total_steps(self) -> int:
        """Steps stored over the whole life of the run, those of restored streams included."""
        return self.totals()[0]

    def totals(self) -> tuple[int, int]:
        """As total_steps, and how many of those steps are in S3."""
        stored, safe = self.rows("SELECT stored_steps, safe_steps FROM totals")[0]
        return stored, safe

    def read_batches(self, after_id: int, limit: int) -> list[StoredBatch]:
        """Up to `limit` batches with id > after_id, in id order."""
        rows = self.rows(
            "SELECT id, stream, number, steps, blob FROM batches WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [StoredBatch(*row) for row in rows]

    def positions(self) -> list[tuple[int, str, int, int]]:
        """(id, stream, number, steps) of every batch, newest first, without the blobs."""
        return self.rows("SELECT id, stream, number, steps FROM batches ORDER BY id DESC")

    def unsafe_batches(self, stream: str, limit: int, max_bytes: int = 2**63 - 1) -> list[StoredBatch]:
        """Batches of `stream` that are not in S3 yet, in the order of their numbers, from the first one.

        No more than `limit`, and no further one once their blobs hold `max_bytes`.
        """
        batches: list[StoredBatch] = []
        size = 0
        with errors_as_sentences(self.path), self.using() as connection:
            rows = connection.execute(
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
        with self.writing() as db:
            db.execute(
                "UPDATE streams SET safe_steps = safe_steps + (SELECT COALESCE(SUM(steps), 0) FROM batches "
                "WHERE stream = :stream AND number > safe_through AND number <= :through), "
                "safe_through = :through "
                "WHERE stream = :stream AND safe_through < :through AND stored_through >= :through",
                {"stream": stream, "through": through},
            )

    def note_checkpoint(self, steps: int, needed_from: int) -> None:
        """Note that a checkpoint is saved: who resumes from it needs the batches from id `needed_from` on."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO checkpoints (steps, needed_from) VALUES (?, ?)", (steps, needed_from))
            db.execute(
                "DELETE FROM checkpoints WHERE steps NOT IN "
                "(SELECT steps FROM checkpoints ORDER BY steps DESC LIMIT ?)",
                (_CHECKPOINTS_NOTED,),
            )

    def forget_checkpoints(self, beyond_steps: int) -> None:
        """Note that checkpoints of more steps cannot be resumed from."""
        with self.writing() as db:
            db.execute("DELETE FROM checkpoints WHERE steps > ?", (beyond_steps,))

    def prune(self, limit: int) -> int:
        """Delete the oldest batches that are in S3 and that no trainer needs again; returns how many.

        No more than `limit`, and no further one once their blobs hold PRUNED_BYTES, because others wait meanwhile.

        Until two checkpoints are noted, nothing is deleted. Positions and counts of steps stay as they are, and ids
        are never used again. The file keeps its size: later batches use the room, so that it grows no more, and
        giving it back would mean to write the pages anew that are in use.
        """
        noted = [row[0] for row in self.rows("SELECT needed_from FROM checkpoints")]
        if len(noted) < _CHECKPOINTS_NOTED:
            return 0
        # Looked for outside of the transaction, which others wait for: what may go now may go then as well.
        found = self.rows(
            "SELECT id, LENGTH(blob) FROM batches JOIN streams USING (stream) WHERE id < ? AND number <= safe_through "
            "ORDER BY id LIMIT ?",
            (min(noted), limit),
        )
        sizes = accumulate((size for _, size in found), initial=0)
        ids = [(id,) for (id, _), before in zip(found, sizes, strict=False) if before < PRUNED_BYTES]
        if ids:
            with self.writing() as db:
                db.executemany("DELETE FROM batches WHERE id = ?", ids)
        return len(ids)

    def is_ready(self) -> bool:
        """Whether the receiver has finished restoring: positions and batches here are the run's."""
        return self.meta("ready") == "1"

    def set_ready(self) -> None:
        """Say that restoring is finished (or that there was nothing to restore)."""
        self.set_meta("ready", "1")

    def restore_batches(self, streams: dict[str, StreamState], batches: Iterable[StoredBatch]) -> None:
        """Replace everything by what S3 holds: positions of all streams and batches under their own ids."""
        with self.writing() as db:
            db.execute("DELETE FROM batches")
            db.execute("DELETE FROM streams")
            db.executemany(
                "INSERT INTO streams "
                "(stream, bridge, signature, stored_through, safe_through, stored_steps, safe_steps, spaces) VALUES "
                "(:stream, :bridge, :signature, :stored_through, :safe_through, :stored_steps, :safe_steps, :spaces)",
                ({"stream": name, **asdict(state)} for name, state in streams.items()),
            )
            db.executemany(
                "INSERT INTO batches (id, stream, number, steps, blob) VALUES (?, ?, ?, ?, ?)",
                ((b.id, b.stream, b.number, b.steps, b.blob) for b in batches),
            )

    def put_weights(self, version: int, blob: bytes, sha256: str) -> None:
        """Publish weights; the newest few are kept."""
        with self.writing() as db:
            db.execute("INSERT INTO weights (version, sha256, blob) VALUES (?, ?, ?)", (version, sha256, blob))
            db.execute("DELETE FROM weights WHERE serial <= (SELECT MAX(serial) FROM weights) - ?", (WEIGHTS_KEPT,))

    def latest_weights(self, newer_than: int = 0) -> WeightsRow | None:
        """The newest weights when their serial is above `newer_than`, else None."""
        rows = self.rows(
            "SELECT serial, version, sha256, blob FROM weights WHERE serial > ? ORDER BY serial DESC LIMIT 1",
            (newer_than,),
        )
        return WeightsRow(*rows[0]) if rows else None

    def newest_version(self) -> int:
        """The highest version among the weights that are kept; 0 while there are none."""
        return int(self.rows("SELECT COALESCE(MAX(version), 0) FROM weights")[0][0])

    def put_progress(self, progress: TrainerProgress) -> None:
        """Say how far the trainer is."""
        with self.writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO progress (only, trained_steps, consumed_steps, updates, state) "
                "VALUES (1, ?, ?, ?, ?)",
                (progress.trained_steps, progress.consumed_steps, progress.updates, progress.state),
            )

    def progress(self) -> TrainerProgress:
        """How far the trainer is; zeros before it has said so."""
        rows = self.rows("SELECT trained_steps, consumed_steps, updates, state FROM progress")
        return TrainerProgress(*rows[0]) if rows else TrainerProgress()

    def meta(self, key: str) -> str | None:
        """A noted fact about the store itself, such as `run_id`; None when it was never noted."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the store itself."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def request_checkpoint(self) -> int:
        """Ask the trainer to save a checkpoint at once; returns how many were asked for, this one included."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO meta (key, value) VALUES (?, '1') "
                "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
                (_CHECKPOINT_REQUESTS,),
            )
        return self.checkpoint_requests()

    def checkpoint_requests(self) -> int:
        """How many checkpoints were asked for so far: a higher number than before is a new request."""
        return int(self.meta(_CHECKPOINT_REQUESTS) or 0)

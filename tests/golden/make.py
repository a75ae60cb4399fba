"""Writes the golden files with today's code: `python -m tests.golden.make [FOLDER]`, into this folder by default.

What lies here stands for what users already have, so it is written again only for a format that no release wrote yet;
a new version of a format gets a file of a new name beside the old one. Two runs write the same bytes (the databases:
with the same SQLite). test_golden.py knows the values by heart and asks nothing from here.
"""

import hashlib
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bridge.pairing_file import store_pairing
from bridge.spool import Spool
from train_cloud.receiver.segments import encode_segment, make_segment
from train_cloud.store import IncomingBatch, Store, StoredBatch, StreamState, TrainerProgress
from train_cloud.trainer.manifest import MANIFEST, Checkpoint, FileEntry, Manifest
from wire.pairing import Pairing

STREAM, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
BRIDGE, SIGNATURE = "a1b2c3d4e5f6", "signature-of-the-task"


def write_all(folder: Path) -> None:
    """Write every golden file into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        (folder / "spool.db").write_bytes(_spool(Path(scratch)))
        (folder / "store.db").write_bytes(_store(Path(scratch)))
        store_pairing(Pairing("trainer.example.org", 8765, "NotASecret" * 4, pin="5a" * 32), Path(scratch))
        (folder / "pairing.txt").write_bytes((Path(scratch) / "pairing.txt").read_bytes())
    (folder / MANIFEST).write_bytes(_manifest())
    (folder / "segment.zst").write_bytes(_segment())


def _spool(folder: Path) -> bytes:
    with Spool(folder) as spool:
        spool.bind_signature(SIGNATURE)
        for number in range(1, 5):
            spool.append(b"blob %d" % number, 10 * number, {0: 6 * number, 1: 4 * number})
        spool.forget_through(spool.stream, 1)
        # A second stream, so that numbers and positions differ.
        spool.start_fresh_stream("for the golden file")
        spool.forget_through(spool.stream, 1)
    with closing(sqlite3.connect(folder / "spool.db", isolation_level=None)) as database:
        for name, value in (("stream", STREAM), ("bridge", BRIDGE)):
            database.execute("UPDATE facts SET value = ? WHERE name = ?", (value, name))
        # Nothing of the random names may stay in the file's unused space.
        database.execute("VACUUM")
    return _whole(folder / "spool.db")


def _store(folder: Path) -> bytes:
    with closing(Store(folder / "store.db")) as store:
        store.set_meta("run_id", "golden-run")
        store.register_stream(STREAM, BRIDGE, SIGNATURE)
        store.register_stream(OTHER, "another-pc", SIGNATURE)
        store.add_batches(
            [
                IncomingBatch(STREAM, 1, 10, b"first"),
                IncomingBatch(OTHER, 1, 20, b"of another"),
                IncomingBatch(STREAM, 2, 30, b"second"),
            ]
        )
        store.mark_safe(STREAM, 1)
        for version in range(1, 5):
            blob = b"weights %d" % version
            store.put_weights(version, blob, hashlib.sha256(blob).hexdigest())
        store.put_progress(TrainerProgress(50, 60, 7, "learning"))
        store.request_checkpoint()
        store.request_checkpoint()
        store.set_ready()
    return _whole(folder / "store.db")


def _whole(file: Path) -> bytes:
    """The bytes of a database that nobody has open; SQLite has then cleared its write-ahead log away."""
    if file.with_name(file.name + "-wal").exists():
        raise RuntimeError(f"{file} is still open: its write-ahead log is there.")
    return file.read_bytes()


def _manifest() -> bytes:
    files = {name: name.encode() for name in ("policy.safetensors", "state.bin")}
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    folder = "checkpoints/000000123456-golden/"
    return Checkpoint(Manifest(folder=folder, steps=123456, updates=789, files=entries), files).manifest_bytes


def _segment() -> bytes:
    batches = [StoredBatch(41, STREAM, 7, 10, b"seventh"), StoredBatch(43, STREAM, 8, 20, b"eighth")]
    return encode_segment(make_segment(STREAM, StreamState(BRIDGE, SIGNATURE, 8, 6, 90, 60), batches))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

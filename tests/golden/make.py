"""Writes the golden files with today's code: `python -m tests.golden.make [FOLDER]`, into this folder by default.

What lies here stands for what users already have, so it is written again only for a format that no release wrote yet;
a new version of a format gets a file of a new name beside the old one. Two runs write the same bytes (the databases:
with the same SQLite; the policy: but for the order of its metadata). test_golden.py knows the values by heart and asks
nothing from here.
"""

import hashlib
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import save

from bridge.pairing.file import store_pairing
from bridge.spool import Spool
from experience.codec import Batch, Column, EpisodeRecord, LapRecord, Layout, encode_batch
from experience.environment import racing
from racing.policy_file import CATEGORICAL, POLICY_FORMAT, SQUASHED_GAUSSIAN
from tests.support.runs import boxes, run_config
from train_cloud.bridge_table import BridgeStanding, put_standings
from train_cloud.history_table import Point, put_beat, put_point, put_report
from train_cloud.lap_table import LapRow, LapTrace, add_laps, put_trace
from train_cloud.receiver.segments import encode_segment, make_segment
from train_cloud.run_folder.keys import MANIFEST
from train_cloud.spot_table import put_spots
from train_cloud.store import IncomingBatch, Store, StoredBatch, StreamState, TrainerProgress
from train_cloud.track_table import put_track
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.reporting.metrics import Rates, metrics_bytes, metrics_document
from train_cloud.trainer.saving.manifest import Checkpoint, FileEntry, Manifest
from wire.pairing import Pairing

STREAM, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
BRIDGE, SIGNATURE = "a1b2c3d4e5f6", "signature-of-the-task"
SPACES = boxes(3, 2).text


def write_all(folder: Path) -> None:
    """Write every golden file into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        (folder / "spool.db").write_bytes(_spool(Path(scratch)))
        (folder / "store_v5.db").write_bytes(_store(Path(scratch)))
        store_pairing(Pairing("trainer.example.org", 8765, "NotASecret" * 4, pin="5a" * 32), Path(scratch))
        (folder / "pairing.txt").write_bytes((Path(scratch) / "pairing.txt").read_bytes())
    (folder / MANIFEST).write_bytes(_manifest())
    (folder / "segment_with_spaces.zst").write_bytes(_segment())
    (folder / "batch_v2.bin").write_bytes(encode_batch(_batch()))
    (folder / "policy.safetensors").write_bytes(_policy())
    (folder / "policy_categorical.safetensors").write_bytes(_policy(CATEGORICAL))
    (folder / "counters.json").write_bytes(msgspec.json.encode(_counters()))
    (folder / "metrics.json").write_bytes(_metrics())


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
        store.register_stream(STREAM, BRIDGE, SIGNATURE, SPACES)
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
        # From here on what version 1, store.db, did not have; version 3 only reckons with what 2 had.
        store.note_checkpoint(30, 1)
        store.note_checkpoint(40, 2)
        put_standings(
            store, [BridgeStanding(STREAM, BRIDGE, "collect", "test", True, 1.5, 3, 20.0, 7, 2, 0.0125, 0.25)]
        )
        put_track(store, "ab" * 32, b"a track")
        # From here on what version 5 brought.
        _history(store)
    return _whole(folder / "store.db")


def _history(store: Store) -> None:
    for steps in (20, 40):
        put_point(store, Point(float(steps), steps, 1, {"drive/laps": steps / 20, "train/actor_loss": -0.125}))
    put_report(store, {"steps": 40, "losses": {"actor_loss": -0.125}})
    put_beat(store, "trainer", "training")
    add_laps(store, [LapRow(1.5, 20, 0, 61.5, (20.0, 20.5, 21.0)), LapRow(2.5, 40, 3, 62.25, (20.0, 21.0, 21.25))])
    columns = ([0.0, 62.25], [0.0, 1200.0], [0.5, -0.25], [50.0, 52.5], [0.0, -0.125], [1.0, -0.5], [4.0, 5.0])
    put_trace(store, "best", LapTrace(62.25, 3, 40, *columns))
    put_spots(store, "taken_up", [(100.5, 7.25)])
    put_spots(store, "heard", [(200.0, -6.5), (300.25, 8.0)])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        database.execute("UPDATE beats SET at = 7.5")


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
    return encode_segment(make_segment(STREAM, StreamState(BRIDGE, SIGNATURE, 8, 6, 90, 60, SPACES), batches))


def _batch() -> Batch:
    """Two runs of two cars with everything that a batch can have, each value another."""
    return Batch(
        layout=Layout(Column(3, step=2.0**-12), Column(2, step=2.0**-15)),
        run_lengths=np.array([3, 2], np.int32),
        run_cars=np.array([0, 4], np.int32),
        run_first_steps=np.array([100, 2**40], np.int64),
        observations=np.arange(21, dtype=np.float32).reshape(7, 3) * np.float32(0.25) - np.float32(2.0),
        actions=np.array([[0.5, -0.5], [0.25, 0.0], [-1.0, 2.0**-15], [0.0, 0.0], [0.75, 0.125]], np.float32),
        rewards=np.array([0.1, -2.0, 0.5, 3.25, 1e-3], np.float32),
        terminated=np.array([0, 0, 1, 0, 0], bool),
        truncated=np.array([0, 0, 0, 0, 1], bool),
        policy_versions=np.array([0, 7, 7, 8, 2**32 - 1], np.uint32),
        action_ages=np.array([0.0, 2.0**-13, 0.125, 0.5, 1.0], np.float32),
        off_period=np.array([0, 1, 0, 0, 0], bool),
        laps=(LapRecord(1, 91.0625, True), LapRecord(4, 88.5, False)),
        episodes=(EpisodeRecord(2, 812, -3.25, "crash"), EpisodeRecord(4, 2, 3.25, "time")),
    )


def _policy(distribution: str = SQUASHED_GAUSSIAN) -> bytes:
    """Two inputs, a hidden layer of two, one action with its log standard deviation, or the logits of three choices."""
    tensors: dict[str, Any] = {
        "0.weight": np.array([[1.0, 0.0], [0.5, -1.0]], np.float16),
        "0.bias": np.array([0.0, 0.25], np.float32),
        "1.weight": np.array([[0.5, 1.0], [0.0, 0.0]], np.float16),
        "1.bias": np.array([-0.25, -4.0], np.float32),
    }
    chooses = distribution == CATEGORICAL
    if chooses:
        tensors["1.weight"] = np.array([[1.0, 0.0], [0.0, 4.0], [-0.5, -1.0]], np.float16)
        tensors["1.bias"] = np.array([0.0, -0.25, 0.5], np.float32)
    layers = [
        {"op": "linear", "weight": "0.weight", "bias": "0.bias"},
        {"op": "relu"},
        {"op": "linear", "weight": "1.weight", "bias": "1.bias"},
    ]
    metadata = {
        "format": POLICY_FORMAT,
        "version": "42",
        "signature": SIGNATURE,
        "observation_size": "2",
        "action_size": "3" if chooses else "1",
        "action_step": repr(0.0 if chooses else 2.0**-15),
        "distribution": distribution,
        "layers": json.dumps(layers),
    }
    return save(tensors, metadata)


def _counters() -> Counters:
    return Counters(
        steps=4000,
        off_period_steps=12,
        updates=3500,
        episodes=4,
        ends={"off_track": 3, "crash": 1},
        laps=3,
        clean_laps=2,
        best_lap=35.5,
        recent_rewards=[1.0, 2.0, 3.0, 6.0],
        seconds=125.25,
        consumed={STREAM: 17},
        weights_version=42,
        seen_version=41,
        resumes=1,
        replay_digest="ab" * 32,
    )


def _metrics() -> bytes:
    config, rates = run_config(run_id="golden-run", network=[8], buffer_size=100, total_timesteps=10_000), Rates()
    rates.mark(3900, _counters())
    boot = {"install": 31.5, "first_gradient": 64.25}
    document = metrics_document(
        config, _counters(), make_learner(config, racing()), rates, "training", 3900, 3000, boot
    )
    # What differs from day to day and from machine to machine.
    document |= {"updated": "2026-11-29T07:00:00+00:00", "versions": dict.fromkeys(document["versions"], "1.0")}
    return metrics_bytes(document)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

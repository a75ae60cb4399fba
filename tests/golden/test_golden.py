"""What users have on their disks and in their buckets is read by today's code, value by value.

The files lie here as make.py once wrote them; the values are spelled out so that reading and writing cannot drift
together.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from bridge.pairing.file import found_uri
from bridge.spool import Spool, SpooledBatch
from experience.codec import Column, EpisodeRecord, LapRecord, Layout, decode_batch
from experience.spaces import Spaces
from racing.policy import Policy
from train_cloud.bridge_table import BridgeStanding, standings
from train_cloud.history_table import Beat, Point, beats, points, report
from train_cloud.lap_table import LapRow, LapTrace, laps, traces
from train_cloud.receiver.segments import decode_segment, parse_key
from train_cloud.spot_table import all_spots
from train_cloud.store import Store, StoredBatch, StreamState, TrainerProgress, WeightsRow
from train_cloud.track_table import track
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.reporting.metrics import story
from train_cloud.trainer.saving.manifest import FileEntry, Manifest
from wire.pairing import Pairing, parse_pairing


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    for file in Path(__file__).parent.iterdir():
        if file.is_file() and file.suffix != ".py":
            shutil.copy(file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["spool.db", "store.db"])
def test_the_databases_are_of_version_1(golden: Path, name: str) -> None:
    with closing(sqlite3.connect(golden / name)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_spool_is_read_and_goes_on(golden: Path) -> None:
    with Spool(golden) as spool:
        assert spool.stream == "0123456789abcdef0123456789abcdef"
        assert spool.bridge == "a1b2c3d4e5f6"
        assert spool.signature == "signature-of-the-task"
        assert (spool.last_number, spool.safe_through, spool.total_steps) == (3, 1, 100)
        assert [spool.steps_of_car(car) for car in (0, 1, 2)] == [60, 40, 0]
        assert spool.read(1) is None
        assert spool.read(2) == SpooledBatch(2, 30, b"blob 3", 60)
        assert spool.read(3) == SpooledBatch(3, 40, b"blob 4", 100)
        assert spool.read(4) is None
        assert spool.steps_after(1) == 70
        assert spool.append(b"one more", 5, {0: 5}) == 4
        spool.forget_through("0123456789abcdef0123456789abcdef", 3)
        assert spool.steps_after(3) == 5


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_is_read(golden: Path, read_only: bool) -> None:
    # Who only reads changes nothing, so whoever writes has brought it up to date before.
    Store(golden / "store.db").close()
    with closing(Store(golden / "store.db", read_only=read_only)) as store:
        assert store.meta("run_id") == "golden-run"
        assert store.is_ready()
        assert store.checkpoint_requests() == 2
        assert store.streams() == {
            "0123456789abcdef0123456789abcdef": StreamState("a1b2c3d4e5f6", "signature-of-the-task", 2, 1, 40, 10),
            "fedcba9876543210fedcba9876543210": StreamState("another-pc", "signature-of-the-task", 1, 0, 20, 0),
        }
        assert store.read_batches(0, 10) == [
            StoredBatch(1, "0123456789abcdef0123456789abcdef", 1, 10, b"first"),
            StoredBatch(2, "fedcba9876543210fedcba9876543210", 1, 20, b"of another"),
            StoredBatch(3, "0123456789abcdef0123456789abcdef", 2, 30, b"second"),
        ]
        assert [row.id for row in store.unsafe_batches("0123456789abcdef0123456789abcdef", 10)] == [3]
        assert store.latest_weights() == WeightsRow(
            4, 4, "7358b9e89fdeea3dbf55315de5c1cec00a1f85964fc3133de57d1efc5c28eb3f", b"weights 4"
        )
        assert store.progress() == TrainerProgress(50, 60, 7, "learning")


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_a_store_of_a_later_version_is_read(golden: Path, version: int) -> None:
    path = golden / f"store_v{version}.db"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
        notes = database.execute("SELECT steps, needed_from FROM checkpoints ORDER BY steps").fetchall()
        assert notes == [(30, 1), (40, 2)]
    Store(path).close()
    with closing(Store(path, read_only=True)) as store:
        assert store.totals() == (60, 10)
        assert store.unsafe_streams() == ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"]
        stream = store.streams()["0123456789abcdef0123456789abcdef"]
        assert (stream.stored_through, stream.safe_through, stream.stored_steps, stream.safe_steps) == (2, 1, 40, 10)
        assert Spaces.parse(stream.spaces).layout == Layout(Column(3), Column(2))
        assert standings(store) == [
            BridgeStanding(
                stream="0123456789abcdef0123456789abcdef",
                bridge="a1b2c3d4e5f6",
                role="collect",
                software="test",
                connected=True,
                heard_at=1.5,
                policy_version=3,
                steps_per_second=20.0,
                unsent_steps=7,
                off_period_steps=2,
                action_age=0.0125,
                round_trip=0.25,
            )
        ]
        assert track(store, "ab" * 32) == b"a track"
        if version < 5:
            assert (points(store), report(store), beats(store), laps(store), traces(store)) == ([], {}, {}, [], {})
            assert all_spots(store) == ()


def test_the_history_in_a_store_is_read(golden: Path) -> None:
    with closing(Store(golden / "store_v5.db")) as store:
        assert points(store) == [
            (1, Point(20.0, 20, 1, {"drive/laps": 1.0, "train/actor_loss": -0.125})),
            (2, Point(40.0, 40, 1, {"drive/laps": 2.0, "train/actor_loss": -0.125})),
        ]
        assert report(store) == {"steps": 40, "losses": {"actor_loss": -0.125}}
        assert beats(store) == {"trainer": Beat(7.5, "training")}
        assert laps(store) == [
            LapRow(2.5, 40, 3, 62.25, (20.0, 21.0, 21.25)),
            LapRow(1.5, 20, 0, 61.5, (20.0, 20.5, 21.0)),
        ]
        assert all_spots(store) == ((100.5, 7.25), (200.0, -6.5), (300.25, 8.0))
        assert traces(store) == {
            "best": LapTrace(
                time=62.25,
                version=3,
                steps=40,
                seconds=[0.0, 62.25],
                metres=[0.0, 1200.0],
                gap=[0.5, -0.25],
                speed=[50.0, 52.5],
                steer=[0.0, -0.125],
                pedals=[1.0, -0.5],
                gear=[4.0, 5.0],
            )
        }


def test_a_store_goes_on(golden: Path) -> None:
    with closing(Store(golden / "store.db")) as store:
        store.mark_safe("0123456789abcdef0123456789abcdef", 2)
        assert store.streams()["0123456789abcdef0123456789abcdef"].safe_steps == 40
        store.put_weights(5, b"weights 5", "hash")
        assert store.latest_weights() == WeightsRow(5, 5, "hash", b"weights 5")
        assert store.request_checkpoint() == 3
        for steps in (100, 200):
            store.note_checkpoint(steps, needed_from=3)
        assert store.prune(10) == 1
        assert [row.id for row in store.read_batches(0, 10)] == [2, 3]


def test_a_checkpoints_manifest_is_read(golden: Path) -> None:
    manifest = msgspec.json.decode((golden / "manifest.json").read_bytes(), type=Manifest)
    assert manifest == Manifest(
        folder="checkpoints/000000123456-golden/",
        steps=123456,
        updates=789,
        files={
            "policy.safetensors": FileEntry("aa3ef1151fc2b980cc21c7dca294e5877e7a276ac182dacd285d9f4af268ce34", 18),
            "state.bin": FileEntry("2f3550e12ffdbb26fe8e793987518a2dce0762fc90f621f4b1c695535b8a4a61", 9),
        },
    )


def test_a_stored_pairing_is_read(golden: Path) -> None:
    assert parse_pairing(found_uri(None, golden, {})) == Pairing(
        "trainer.example.org",
        8765,
        "NotASecretNotASecretNotASecretNotASecret",
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        tls=True,
    )


@pytest.mark.parametrize("name", ["segment.zst", "segment_with_spaces.zst"])
def test_a_segment_is_read(golden: Path, name: str) -> None:
    key = parse_key("experience/0123456789abcdef0123456789abcdef/000000000007-000000000008.zst")
    assert key is not None
    segment = decode_segment((golden / name).read_bytes(), key)
    assert segment.stream == "0123456789abcdef0123456789abcdef"
    assert (segment.bridge, segment.signature, segment.steps_before) == ("a1b2c3d4e5f6", "signature-of-the-task", 60)
    assert segment.batches() == [
        StoredBatch(41, "0123456789abcdef0123456789abcdef", 7, 10, b"seventh"),
        StoredBatch(43, "0123456789abcdef0123456789abcdef", 8, 20, b"eighth"),
    ]
    assert segment.spaces == "" if name == "segment.zst" else Spaces.parse(segment.spaces).layout.action == Column(2)


def test_a_batch_of_version_2_is_read(golden: Path) -> None:
    batch = decode_batch((golden / "batch_v2.bin").read_bytes())
    observation, action = batch.layout.observation, batch.layout.action
    assert (observation.size, observation.dtype, observation.step) == (3, "float32", 1 / 4096)
    assert (action.size, action.dtype, action.step) == (2, "float32", 1 / 32768)
    assert batch.run_lengths.tolist() == [3, 2]
    assert batch.run_cars.tolist() == [0, 4]
    assert batch.run_first_steps.tolist() == [100, 1099511627776]
    assert batch.observations.tolist() == [
        [-2.0, -1.75, -1.5],
        [-1.25, -1.0, -0.75],
        [-0.5, -0.25, 0.0],
        [0.25, 0.5, 0.75],
        [1.0, 1.25, 1.5],
        [1.75, 2.0, 2.25],
        [2.5, 2.75, 3.0],
    ]
    assert batch.actions.tolist() == [[0.5, -0.5], [0.25, 0.0], [-1.0, 1 / 32768], [0.0, 0.0], [0.75, 0.125]]
    assert batch.rewards.tobytes() == np.array([0.1, -2.0, 0.5, 3.25, 0.001], np.float32).tobytes()
    assert batch.terminated.tolist() == [False, False, True, False, False]
    assert batch.truncated.tolist() == [False, False, False, False, True]
    assert batch.off_period.tolist() == [False, True, False, False, False]
    assert batch.policy_versions.tolist() == [0, 7, 7, 8, 4294967295]
    assert batch.action_ages.tolist() == [0.0, 1 / 8192, 0.125, 0.5, 1.0]
    assert batch.laps == (LapRecord(1, 91.0625, True), LapRecord(4, 88.5, False))
    assert batch.episodes == (EpisodeRecord(2, 812, -3.25, "crash"), EpisodeRecord(4, 2, 3.25, "time"))


def test_a_policy_is_read_and_drives(golden: Path) -> None:
    policy = Policy.from_bytes((golden / "policy.safetensors").read_bytes(), "signature-of-the-task")
    assert (policy.version, policy.observation_size, policy.action_size) == (42, 2, 1)
    assert policy.action_step == 1 / 32768
    # relu(1 x 1) = 1 and relu(0.5 x 1 - 0.5 + 0.25) = 0.25; tanh(0.5 x 1 + 0.25 - 0.25) = tanh(0.5) = 0.46212.
    action = policy.act(np.array([[1.0, 0.5]], np.float32))
    assert action.tolist() == [[round(0.46211715726 * 32768) / 32768]]


def test_a_policy_that_chooses_is_read_and_drives(golden: Path) -> None:
    data = (golden / "policy_categorical.safetensors").read_bytes()
    policy = Policy.from_bytes(data, "signature-of-the-task", (Box(-1.0, 1.0, (2,)), Discrete(3, start=5)))
    assert (policy.version, policy.observation_size, policy.action_size, policy.action_step) == (42, 2, 3, 0.0)
    # Hidden: relu(x) and relu(0.5 x - y + 0.25); so the logits are 1, 0.75, -0.25; 0, 4.75, -0.75; 0, -0.25, 0.5.
    rows = np.array([[1.0, 0.5], [0.0, -1.0], [-1.0, 1.0]], np.float32)
    assert policy.act(rows).tolist() == [[5], [6], [7]]
    chosen = policy.act(np.repeat(rows[:1], 20_000, axis=0), np.random.default_rng(1))
    # The softmax of 1, 0.75, -0.25.
    assert np.bincount(chosen[:, 0] - 5) / 20_000 == pytest.approx([0.4842, 0.3771, 0.1387], abs=0.02)


def test_the_counters_of_a_checkpoint_are_read(golden: Path) -> None:
    counters = msgspec.json.decode((golden / "counters.json").read_bytes(), type=Counters)
    assert msgspec.to_builtins(counters) == {
        "steps": 4000,
        "off_period_steps": 12,
        "updates": 3500,
        "episodes": 4,
        "ends": {"off_track": 3, "crash": 1},
        "laps": 3,
        "clean_laps": 2,
        "best_lap": 35.5,
        "recent_rewards": [1.0, 2.0, 3.0, 6.0],
        "seconds": 125.25,
        "consumed": {"0123456789abcdef0123456789abcdef": 17},
        "weights_version": 42,
        "seen_version": 41,
        "resumes": 1,
        "replay_digest": "ab" * 32,
        # Later versions' fields, which this file has none of.
        "pace": None,
        "made_by": "",
        "recent_metres": [],
        "demonstrations": 0,
        "lap_times": {"human": None, "policy": None, "last": None},
        "signature": "",
        "forgiven_updates": 0,
        "judged": {"newest": None, "best": None, "far_behind": 0, "went_back_at": None},
    }


def test_metrics_are_read_by_their_names(golden: Path) -> None:
    document = msgspec.json.decode((golden / "metrics.json").read_bytes())
    assert story(document) == {
        "says": "3 laps, 2 of them clean, best 0:35.500",
        "updates_per_second": 0.0,
        "mean_reward": 3.0,
        "laps": 3,
        "clean": 2,
        "best_lap_s": 35.5,
        "replay": 0,
        "version": 42,
        "saved_at": 3000,
        "off_period": 12,
    }
    told = {
        name: document[name] for name in ("run_id", "state", "method", "trained_steps", "steps_left", "boot_seconds")
    }
    assert told == {
        "run_id": "golden-run",
        "state": "training",
        "method": "sac",
        "trained_steps": 3900,
        "steps_left": 6100,
        "boot_seconds": {"install": 31.5, "first_gradient": 64.25},
    }

"""Backup and restore against a real S3 server: what is called safe is there, and a new instance goes on from it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.retry import Backoff, GaveUp
from tests.support.experience import incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.waiting import wait_until
from train_cloud import object_store, s3_store
from train_cloud.object_store import ObjectStore, ObjectStoreDenied, ObjectStoreUnavailable
from train_cloud.open_store import open_store
from train_cloud.receiver.backup import Backup
from train_cloud.receiver.restore import RestoreError, restore
from train_cloud.receiver.segments import (
    Segment,
    SegmentError,
    decode_segment,
    encode_segment,
    make_segment,
    parse_key,
)
from train_cloud.store import IncomingBatch, Store, StoredBatch, StreamState

__all__ = ["s3"]

A, B = "a" * 32, "b" * 32
EVERYTHING = 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    store.register_stream(A, "pc-a", "sig")
    store.register_stream(B, "pc-b", "sig")
    yield store
    store.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Store]:
    """The empty store of a new instance."""
    store = Store(tmp_path / "fresh.db")
    yield store
    store.close()


@pytest.fixture
def objects(s3: MotoS3) -> ObjectStore:
    return open_store(s3.bucket, "runs/one/")


def small(numbers: range, stream: str = A) -> list[IncomingBatch]:
    return [IncomingBatch(stream, number, 10, f"{stream[0]}{number}".encode()) for number in numbers]


def upload(store: Store, objects: ObjectStore) -> list[tuple[str, int]]:
    """Everything stored goes to the bucket, as one segment for each stream."""
    told: list[tuple[str, int]] = []
    assert Backup(store, objects, 1.0, lambda stream, through: told.append((stream, through))).flush(120)
    return told


def take_over(fresh: Store, objects: ObjectStore, steps: int = EVERYTHING, signature: str = "sig") -> None:
    restore(fresh, objects, steps, signature, threading.Event())


def rows(store: Store) -> list[tuple[str, int, bytes]]:
    return [(row.stream, row.number, row.blob) for row in store.read_batches(0, 10**6)]


def test_stored_batches_become_safe_in_named_segments(store: Store, objects: ObjectStore) -> None:
    store.add_batches(small(range(1, 4)) + small(range(1, 3), B))
    assert sorted(upload(store, objects)) == [(A, 3), (B, 2)]
    assert objects.list() == [
        f"experience/{A}/000000000001-000000000003.zst",
        f"experience/{B}/000000000001-000000000002.zst",
    ]
    assert store.streams()[A].safe_through == 3
    store.add_batches(small(range(4, 6)))
    assert upload(store, objects) == [(A, 5)]
    assert objects.list()[1] == f"experience/{A}/000000000004-000000000005.zst"


def test_the_thread_uploads_by_itself(store: Store, objects: ObjectStore) -> None:
    backup = Backup(store, objects, 0.05, lambda *_: None)
    backup.start()
    store.add_batches(small(range(1, 4)))
    wait_until(lambda: store.streams()[A].safe_through == 3, "the batches are safe")
    backup.flush(120)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["errors", "silence", "refusals"])
def test_nothing_is_safe_while_the_bucket_is_in_trouble_and_everything_after_it(
    s3: MotoS3,
    store: Store,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(s3_store, "READ_SECONDS", 0.3)
    told: list[tuple[str, int]] = []
    backup = Backup(
        store,
        open_store(s3.bucket, "runs/one/"),
        0.05,
        lambda stream, through: told.append((stream, through)),
        Backoff(first=0.05, cap=0.1),
    )
    if trouble == "silence":
        s3.hang()
    else:
        s3.fail("403 Forbidden" if trouble == "refusals" else "503 Slow Down")
    backup.start()
    store.add_batches(small(range(1, 4)))
    wait_until(lambda: caplog.text.count("trying again") >= 3, "three attempts have failed")
    store.add_batches(small(range(4, 6)))
    assert told == []
    assert store.streams()[A].safe_through == 0
    s3.heal()
    # It is told after it is noted: the note alone may be seen before.
    wait_until(lambda: told[-1:] == [(A, 5)], "everything is safe")
    assert store.streams()[A].safe_through == 5
    backup.flush(120)


def test_answers_that_nobody_foresaw_count_as_failing_too(s3: MotoS3, store: Store) -> None:
    backup = Backup(store, open_store(s3.bucket, "runs/one/"), 0.05, lambda *_: None, Backoff(first=0.05, cap=0.1))
    s3.leave_out_etags(".zst")
    backup.start()
    store.add_batches(small(range(1, 4)))
    wait_until(lambda: backup.failing_seconds() > 0.1, "the backup is known to fail")
    assert store.streams()[A].safe_through == 0
    s3.heal()
    wait_until(lambda: store.streams()[A].safe_through == 3, "the batches are safe")
    backup.flush(120)
    assert backup.failing_seconds() == 0


def test_the_final_upload_gives_up_in_time_when_the_bucket_is_silent(
    s3: MotoS3, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "READ_SECONDS", 0.3)
    monkeypatch.setattr("train_cloud.receiver.backup.CALL_SECONDS", 0.3)
    store.add_batches(small(range(1, 4)))
    backup = Backup(store, open_store(s3.bucket, "runs/one/"), 1.0, lambda *_: None)
    s3.hang()
    # It is silent for ever.
    assert not backup.flush(1.0)
    assert store.streams()[A].safe_through == 0


@pytest.mark.parametrize("error", [ObjectStoreDenied("denied"), ObjectStoreUnavailable("silent"), ValueError("odd")])
def test_one_streams_trouble_does_not_keep_the_others_from_the_bucket(
    store: Store, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    store.add_batches(small(range(1, 4)) + small(range(1, 3), B))
    put = objects.put

    def put_all_but_a(key: str, data: bytes) -> str:
        if A in key:
            raise error
        return put(key, data)

    monkeypatch.setattr(objects, "put", put_all_but_a)
    backup = Backup(store, objects, 0.01, lambda *_: None, Backoff(first=0.01, cap=0.02))
    backup.start()
    wait_until(lambda: store.streams()[B].safe_through == 2, "the other stream is safe")
    assert store.streams()[A].safe_through == 0
    monkeypatch.undo()
    assert backup.flush(120)


def test_a_large_backlog_goes_up_in_several_segments(
    store: Store, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train_cloud.receiver.backup.MAX_BATCHES", 10)
    store.add_batches(small(range(1, 26)))
    upload(store, objects)
    assert [key.removeprefix(f"experience/{A}/") for key in objects.list()] == [
        "000000000001-000000000010.zst",
        "000000000011-000000000020.zst",
        "000000000021-000000000025.zst",
    ]


def test_a_new_instance_has_the_positions_and_the_batches_in_their_old_order(
    store: Store, fresh: Store, objects: ObjectStore
) -> None:
    real = incoming(range(1, 7), A)
    store.add_batches([*real[:2], *small(range(1, 3), B), *real[2:5]])
    upload(store, objects)
    store.add_batches([*small(range(3, 5), B), real[5]])
    upload(store, objects)
    take_over(fresh, objects)
    assert rows(fresh) == rows(store)
    assert fresh.streams() == store.streams()
    assert fresh.total_steps() == store.total_steps()
    assert fresh.add_batches(small(range(5, 6), B)) == {B: 5}
    assert fresh.read_batches(0, 100)[-1].id > store.read_batches(0, 100)[-1].id


def test_an_empty_bucket_restores_to_an_empty_store(fresh: Store, objects: ObjectStore) -> None:
    take_over(fresh, objects)
    assert fresh.streams() == {}
    assert rows(fresh) == []


def test_what_was_stored_but_not_safe_is_expected_again(store: Store, fresh: Store, objects: ObjectStore) -> None:
    store.add_batches(small(range(1, 4)))
    upload(store, objects)
    store.add_batches(small(range(4, 9)))
    take_over(fresh, objects)
    assert (fresh.streams()[A].stored_through, fresh.streams()[A].safe_through) == (3, 3)


def test_only_the_newest_batches_come_back_but_every_position_does(
    store: Store, fresh: Store, objects: ObjectStore
) -> None:
    for first in range(1, 40, 2):
        store.add_batches(small(range(first, first + 2)) + small(range(first, first + 2), B))
        upload(store, objects)
    take_over(fresh, objects, steps=100)
    assert fresh.streams() == store.streams()
    assert fresh.total_steps() == store.total_steps()
    assert 10 <= len(rows(fresh)) <= 14
    assert rows(fresh) == rows(store)[-len(rows(fresh)) :]


def test_overlapping_segments_count_once(store: Store, fresh: Store, objects: ObjectStore) -> None:
    store.add_batches(small(range(1, 8)))
    state, batches = store.streams()[A], store.read_batches(0, 100)
    for part in (batches[:4], batches[:6], batches[6:]):
        steps_before = 10 * (part[0].number - 1)
        overlapping = StreamState(state.bridge, state.signature, 0, 0, 0, steps_before)
        segment = make_segment(A, overlapping, part)
        objects.put(str(segment.key), encode_segment(segment))
    take_over(fresh, objects)
    assert rows(fresh) == rows(store)
    assert (fresh.streams()[A].stored_through, fresh.total_steps()) == (7, 70)


def three_segments(store: Store, objects: ObjectStore) -> list[str]:
    for first in (1, 4, 7):
        store.add_batches(small(range(first, first + 3)))
        upload(store, objects)
    return objects.list()


def test_a_damaged_segment_is_said_loudly_and_the_stream_goes_on_before_it(
    store: Store, fresh: Store, objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    keys = three_segments(store, objects)
    objects.put(keys[1], objects.get(keys[1])[0][:-5])
    take_over(fresh, objects)
    assert [number for _, number, _ in rows(fresh)] == [1, 2, 3]
    assert fresh.streams()[A] == StreamState("pc-a", "sig", 3, 3, 30, 30)
    assert "a segment of experience is unusable" in caplog.text
    assert "a stream has a hole in the bucket" in caplog.text


def test_what_lay_behind_a_hole_is_whole_again_once_the_bridge_has_sent_it(
    store: Store, fresh: Store, objects: ObjectStore, tmp_path: Path
) -> None:
    keys = three_segments(store, objects)
    objects.put(keys[1], b"damaged")
    take_over(fresh, objects)
    fresh.add_batches(small(range(4, 9)))
    upload(fresh, objects)
    third = Store(tmp_path / "third.db")
    take_over(third, objects)
    assert [number for _, number, _ in rows(third)] == list(range(1, 10))
    third.close()


def test_a_missing_first_segment_leaves_nothing_of_its_stream_and_all_of_the_others(
    s3: MotoS3, store: Store, fresh: Store, objects: ObjectStore
) -> None:
    keys = three_segments(store, objects)
    store.add_batches(small(range(1, 3), B))
    upload(store, objects)
    s3.client().delete_object(Bucket=s3.bucket.name, Key=objects.prefix + keys[0])
    take_over(fresh, objects)
    assert set(fresh.streams()) == {B}


def test_a_foreign_object_among_the_segments_is_passed_over(store: Store, fresh: Store, objects: ObjectStore) -> None:
    three_segments(store, objects)
    objects.put("experience/notes.txt", b"hello")
    take_over(fresh, objects)
    assert fresh.streams()[A].stored_through == 9


def test_experience_of_another_task_is_refused(store: Store, fresh: Store, objects: ObjectStore) -> None:
    three_segments(store, objects)
    with pytest.raises(RestoreError, match="another task"):
        take_over(fresh, objects, signature="other")


def test_restoring_waits_for_a_bucket_in_trouble(
    s3: MotoS3, store: Store, fresh: Store, objects: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    three_segments(store, objects)
    s3.fail()
    restoring = threading.Thread(target=take_over, args=(fresh, objects))
    restoring.start()
    wait_until(lambda: "waiting for the bucket" in caplog.text, "an attempt has failed")
    s3.heal()
    restoring.join(120)
    assert fresh.streams()[A].stored_through == 9


def test_restoring_ends_when_asked_to_and_when_the_patience_with_a_refusing_bucket_is_over(
    s3: MotoS3, fresh: Store, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    stop.set()
    s3.fail()
    with pytest.raises(GaveUp):
        restore(fresh, objects, EVERYTHING, "sig", stop)
    s3.fail("403 Forbidden")
    monkeypatch.setattr(object_store, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(ObjectStoreDenied):
        take_over(fresh, objects)


def segment_of(numbers: range) -> Segment:
    batches = [StoredBatch(100 + number, A, number, 10, b"blob") for number in numbers]
    return make_segment(A, StreamState("pc", "sig", 0, 0, 0, 0), batches)


def test_a_segment_is_read_back_as_it_was() -> None:
    segment = segment_of(range(3, 9))
    assert parse_key(str(segment.key)) == segment.key
    assert decode_segment(encode_segment(segment), segment.key) == segment


@pytest.mark.parametrize("place", range(0, 60, 7))
def test_a_segment_with_one_changed_byte_is_refused(place: int) -> None:
    data = bytearray(encode_segment(segment_of(range(3, 9))))
    data[place] ^= 0x10
    with pytest.raises(SegmentError):
        decode_segment(bytes(data), segment_of(range(3, 9)).key)


def test_a_segment_under_another_name_is_refused() -> None:
    data = encode_segment(segment_of(range(3, 9)))
    with pytest.raises(SegmentError, match="its name"):
        decode_segment(data, segment_of(range(3, 8)).key)

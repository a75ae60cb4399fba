"""The store's promises: once each, no gaps, on the disk when a call returns, open to several processes."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from train_cloud.store import (
    IncomingBatch,
    Store,
    StoredBatch,
    StoreError,
    StoreFull,
    StreamState,
    TrainerProgress,
)

A, B = "a" * 32, "b" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    store.register_stream(A, "pc-a", "sig")
    store.register_stream(B, "pc-b", "sig")
    yield store
    store.close()


def batch(number: int, stream: str = A, steps: int = 10) -> IncomingBatch:
    return IncomingBatch(stream, number, steps, f"{stream[0]}{number}".encode())


def test_batches_are_read_back_in_the_order_of_their_arrival(store: Store) -> None:
    assert store.add_batches([batch(1), batch(1, B), batch(2)]) == {A: 2, B: 1}
    first, *rest = store.read_batches(after_id=0, limit=10)
    assert (first.stream, first.number, first.steps, first.blob) == (A, 1, 10, b"a1")
    assert [(row.stream, row.number) for row in rest] == [(B, 1), (A, 2)]
    assert store.read_batches(after_id=first.id, limit=1) == rest[:1]
    assert store.total_steps() == 30


def test_a_repeated_batch_is_stored_once(store: Store) -> None:
    store.add_batches([batch(1)])
    assert store.add_batches([batch(1), batch(2), batch(2)]) == {A: 2}
    assert [row.number for row in store.read_batches(0, 10)] == [1, 2]
    assert store.streams()[A].stored_steps == 20


def test_a_batch_that_would_leave_a_gap_is_not_stored(store: Store) -> None:
    assert store.add_batches([batch(1), batch(3)]) == {A: 1}
    assert [row.number for row in store.read_batches(0, 10)] == [1]


def test_a_stream_must_be_registered(store: Store) -> None:
    with pytest.raises(StoreError, match="not registered"):
        store.add_batches([batch(1), batch(1, "c" * 32)])
    assert store.read_batches(0, 10) == []


def test_what_is_safe_only_moves_forward_and_never_beyond_what_is_stored(store: Store) -> None:
    store.add_batches([batch(1), batch(2), batch(3)])
    store.mark_safe(A, 2)
    store.mark_safe(A, 1)
    store.mark_safe(A, 9)
    assert store.streams()[A] == StreamState("pc-a", "sig", 3, 2, 30, 20)
    assert [row.number for row in store.unsafe_batches(A, 10)] == [3]


def test_the_newest_weights_are_seen_even_when_their_version_goes_back(store: Store) -> None:
    assert store.latest_weights() is None
    for version in (1, 2, 3, 4, 2):
        store.put_weights(version, b"w%d" % version, "hash")
    newest = store.latest_weights()
    assert newest is not None
    assert (newest.version, newest.blob) == (2, b"w2")
    assert store.latest_weights(newest.serial) is None


def test_progress_is_zero_until_the_trainer_says_otherwise(store: Store) -> None:
    assert store.progress() == TrainerProgress()
    store.put_progress(TrainerProgress(5, 6, 7, "learning"))
    assert store.progress() == TrainerProgress(5, 6, 7, "learning")


def test_restored_batches_keep_their_ids_and_new_ones_follow_them(store: Store) -> None:
    store.add_batches([batch(1)])
    restored = [StoredBatch(40, A, 7, 10, b"a7"), StoredBatch(41, B, 2, 10, b"b2")]
    states = {A: StreamState("pc-a", "sig", 7, 7, 70, 70), B: StreamState("pc-b", "sig", 2, 2, 20, 20)}
    store.restore_batches(states, restored)
    assert store.streams() == states
    assert store.add_batches([batch(8)]) == {A: 8}
    rows = store.read_batches(0, 10)
    assert rows[:2] == restored
    assert rows[2].id > 41
    assert store.total_steps() == 100


def test_readiness_is_seen_by_a_second_user_of_the_file(store: Store) -> None:
    other = Store(store.path)
    assert not other.is_ready()
    store.set_ready()
    assert other.is_ready()
    other.close()


def test_a_full_store_refuses_the_write_keeps_what_it_had_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    small = Store(tmp_path / "small.db", max_bytes=2**20)
    small.register_stream(A, "pc-a", "sig")
    small.add_batches([batch(1)])
    with pytest.raises(StoreFull, match="full"):
        small.add_batches([IncomingBatch(A, 2, 10, bytes(2**21))])
    assert small.streams()[A].stored_through == 1
    small.close()
    larger = Store(tmp_path / "small.db")
    assert larger.add_batches([IncomingBatch(A, 2, 10, bytes(2**21))]) == {A: 2}
    larger.close()


def _write_numbers(path: Path, stream: str, count: int) -> None:
    store = Store(path)
    store.register_stream(stream, stream, "sig")
    for number in range(1, count + 1):
        store.add_batches([batch(number, stream)])
    store.close()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_numbers, args=(path, name * 32, 30)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    store = Store(path)
    assert {name: state.stored_through for name, state in store.streams().items()} == {A: 30, B: 30}
    assert len(store.read_batches(0, 100)) == 60
    store.close()


def test_a_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    maker = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
    maker.execute("BEGIN IMMEDIATE")
    maker.execute("CREATE TABLE begun (anything)")
    finish = threading.Timer(0.3, maker.execute, ["COMMIT"])
    finish.start()
    store = Store(tmp_path / "store.db")
    finish.join()
    assert store.streams() == {}
    store.close()
    maker.close()


def test_what_was_returned_survives_a_kill(tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from train_cloud.store import IncomingBatch, Store
        store = Store(Path({str(tmp_path / "store.db")!r}))
        store.register_stream("{A}", "pc", "sig")
        number = 0
        while True:
            number += 1
            store.add_batches([IncomingBatch("{A}", number, 1, b"x" * 500)])
            print(number, flush=True)
    """
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    said = 0
    while said < 25:
        said = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    said = max([said, *(int(line) for line in writer.stdout.read().split())])
    writer.wait(timeout=30)
    store = Store(tmp_path / "store.db")
    assert store.streams()[A].stored_through >= said
    assert [row.number for row in store.read_batches(0, 10**6)] == list(range(1, store.streams()[A].stored_through + 1))
    store.close()


def test_requests_for_a_checkpoint_are_counted_over_processes(store: Store, tmp_path: Path) -> None:
    assert store.checkpoint_requests() == 0
    other = Store(tmp_path / "store.db")
    assert (other.request_checkpoint(), store.request_checkpoint()) == (1, 2)
    other.close()
    assert store.checkpoint_requests() == 2

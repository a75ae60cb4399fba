"""The store's promises: once each, no gaps, on the disk when a call returns, open to several processes."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.support.stores import A, B, batch, store, write_numbers
from tests.support.waiting import wait_until
from train_cloud.store import (
    IncomingBatch,
    Store,
    StoredBatch,
    StoreError,
    StoreFull,
    StreamState,
    TrainerProgress,
)

__all__ = ["store"]


def test_batches_are_read_back_in_the_order_of_their_arrival(store: Store) -> None:
    assert store.add_batches([batch(1), batch(1, B), batch(2)]) == {A: 2, B: 1}
    first, *rest = store.read_batches(after_id=0, limit=10)
    assert (first.stream, first.number, first.steps, first.blob) == (A, 1, 10, b"a1")
    assert [(row.stream, row.number) for row in rest] == [(B, 1), (A, 2)]
    assert store.read_batches(after_id=first.id, limit=1) == rest[:1]
    assert store.total_steps() == 30


def test_what_is_written_within_a_transaction_is_kept_with_it_or_not_at_all(store: Store) -> None:
    with closing(Store(store.path)) as other:
        with store.writing():
            store.set_meta("first", "1")
            store.add_batches([batch(1)])
            assert (other.meta("first"), other.total_steps()) == (None, 0)
        assert (other.meta("first"), other.total_steps()) == ("1", 10)

        def half() -> None:
            with store.writing():
                store.set_meta("second", "2")
                store.add_batches([batch(1, "a stream that nobody registered")])

        with pytest.raises(StoreError, match="not registered"):
            half()
        assert (other.meta("second"), store.meta("second")) == (None, None)
    store.close()
    with pytest.raises(StoreError), store.writing():
        pass


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


@pytest.mark.slow
def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_numbers, args=(path, name * 32, 30)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
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
    writer.wait(120)
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


def test_totals_are_those_of_all_streams_whatever_happens_to_them(store: Store, tmp_path: Path) -> None:
    def summed() -> tuple[int, int]:
        states = store.streams().values()
        return sum(state.stored_steps for state in states), sum(state.safe_steps for state in states)

    assert store.totals() == (0, 0)
    for stream in (A, B):
        store.register_stream(stream, stream[:4], "sig")
        store.add_batches([IncomingBatch(stream, number, 10 * number, b"x") for number in (1, 2, 3)])
    store.mark_safe(B, 2)
    assert store.totals() == summed() == (120, 30)
    assert store.total_steps() == 120
    kept = {B: store.streams()[B]}
    store.restore_batches(kept, [])
    assert store.totals() == summed() == (60, 30)
    with closing(Store(tmp_path / "store.db")) as again:
        assert again.totals() == (60, 30)


def test_nothing_that_is_asked_often_looks_at_all_streams(store: Store) -> None:
    """A peer decides how many streams there are: each Hello may name a new one."""
    asked: list[str] = []
    c, name = "c" * 32, "pc-c"
    store.connection().set_trace_callback(asked.append)
    assert store.stream(A) == store.streams()[A]
    asked.clear()
    store.register_stream(A, "pc-a", "sig")
    store.register_stream(c, name, "sig")
    store.add_batches([IncomingBatch(c, 1, 10, b"x")])
    assert store.unsafe_streams() == [c]
    store.mark_safe(c, 1)
    assert store.unsafe_streams() == []
    assert store.totals() == (10, 10)
    store.connection().set_trace_callback(None)
    statements = [sql for sql in asked if sql.startswith(("SELECT", "UPDATE", "INSERT"))]
    assert len(statements) > 8
    for sql in statements:
        for row in store.rows(f"EXPLAIN QUERY PLAN {sql}"):
            whole = row[3].startswith("SCAN streams") and "unsafe_streams" not in row[3]
            assert not whole, sql


def test_closing_while_others_use_it_is_an_error_for_them_and_no_crash(tmp_path: Path) -> None:
    for _ in range(20):
        store = Store(tmp_path / "store.db")
        store.register_stream(A, "pc", "sig")
        ended: list[StoreError] = []

        def use(store: Store = store, ended: list[StoreError] = ended) -> None:
            try:
                while True:
                    store.streams()
                    store.unsafe_batches(A, 10)
            except StoreError as error:
                ended.append(error)

        users = [threading.Thread(target=use) for _ in range(4)]
        for user in users:
            user.start()
        wait_until(partial(lambda store: len(store._connections) > 4, store), "all use it")
        store.close()
        for user in users:
            user.join()
        assert len(ended) == 4

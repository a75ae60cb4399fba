"""Old experience leaves the instance's disk, and nobody misses it: what is not safe, or may be needed again, stays."""

import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.retry import Backoff
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import ThreadedReceiver, blob, hello
from tests.support.runs import run_config
from tests.support.stores import A, B, store
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store
from train_cloud.receiver import backup as backup_module
from train_cloud.receiver.backup import PRUNED_AT_ONCE, Backup
from train_cloud.store import PRUNED_BYTES, IncomingBatch, Store, StoreFull
from wire.messages import Ack, TransitionBatch

__all__ = ["s3", "store"]


def add(store: Store, numbers: range, stream: str = A, size: int = 10, safe: bool = True) -> None:
    """Batches of 10 steps each, `size` bytes large."""
    store.add_batches([IncomingBatch(stream, number, 10, bytes(size)) for number in numbers])
    if safe:
        store.mark_safe(stream, numbers[-1])


def fill(store: Store) -> None:
    """Add batches until there is no room."""
    for number in range(1, 1000):
        add(store, range(number, number + 1), size=20_000)


def need(store: Store, *needed_from: int) -> None:
    """Two checkpoints are saved that need the batches from these ids on."""
    for place, needed in enumerate(needed_from, start=1):
        store.note_checkpoint(100 * place, needed)


def numbers(store: Store, stream: str = A) -> list[int]:
    return [row.number for row in store.read_batches(0, 10**6) if row.stream == stream]


def test_what_both_checkpoints_are_past_is_pruned_and_no_figure_moves(store: Store) -> None:
    add(store, range(1, 11))
    need(store, 4, 7)
    streams, total = store.streams(), store.total_steps()
    assert store.prune(100) == 3
    assert numbers(store) == [4, 5, 6, 7, 8, 9, 10]
    assert store.prune(100) == 0
    assert (store.streams(), store.total_steps()) == (streams, total)


def test_nothing_is_pruned_until_there_is_a_checkpoint_to_fall_back_to(store: Store) -> None:
    add(store, range(1, 11))
    assert store.prune(100) == 0
    store.note_checkpoint(100, 8)
    store.note_checkpoint(100, 8)
    assert store.prune(100) == 0
    store.note_checkpoint(200, 9)
    assert store.prune(100) == 7


def test_the_needs_of_older_checkpoints_do_not_count_any_more(store: Store) -> None:
    add(store, range(1, 11))
    need(store, 1, 4, 7)
    assert store.prune(100) == 3


def test_a_checkpoint_that_could_not_be_resumed_from_protects_nothing_and_allows_nothing(store: Store) -> None:
    add(store, range(1, 11))
    need(store, 4, 7)
    store.forget_checkpoints(beyond_steps=100)
    assert store.prune(100) == 0
    store.note_checkpoint(150, 6)
    assert store.prune(100) == 3


def test_what_is_not_in_the_bucket_stays_however_old(store: Store) -> None:
    add(store, range(1, 4), safe=False)
    add(store, range(1, 4), B)
    store.mark_safe(A, 1)
    need(store, 7, 7)
    assert store.prune(100) == 4
    assert (numbers(store), numbers(store, B)) == ([2, 3], [])
    assert [row.number for row in store.unsafe_batches(A, 10)] == [2, 3]
    store.mark_safe(A, 3)
    assert store.streams()[A].safe_steps == 30
    assert store.prune(100) == 2


def test_the_oldest_go_first_and_never_more_than_allowed(store: Store) -> None:
    add(store, range(1, 11))
    need(store, 9, 9)
    assert [store.prune(3) for _ in range(4)] == [3, 3, 2, 0]


def test_what_is_deleted_at_once_is_bounded_in_bytes_because_others_wait_meanwhile(store: Store) -> None:
    add(store, range(1, 11), size=PRUNED_BYTES // 3)
    need(store, 11, 11)
    assert [store.prune(100) for _ in range(4)] == [4, 4, 2, 0]


def test_a_pruned_batch_that_comes_again_is_known_and_new_ones_get_new_ids(store: Store) -> None:
    add(store, range(1, 6))
    need(store, 6, 6)
    assert store.prune(100) == 5
    assert store.add_batches([IncomingBatch(A, 2, 10, b"again"), IncomingBatch(A, 5, 10, b"again")]) == {A: 5}
    assert numbers(store) == []
    add(store, range(6, 7))
    assert [row.id for row in store.read_batches(0, 10)] == [6]
    assert store.total_steps() == 60


def test_a_bridge_that_sends_pruned_batches_again_hears_that_they_are_stored(tmp_path: Path) -> None:
    config = run_config()
    receiver = ThreadedReceiver(config, tmp_path)
    try:
        with receiver.client() as bridge:
            bridge.begin(hello(config))
            bridge.store(1, 2, 3, 4)
            stream = next(iter(receiver.store.streams()))
            receiver.store.mark_safe(stream, 4)
            need(receiver.store, 4, 4)
            assert receiver.store.prune(100) == 3
        with receiver.client() as again:
            welcome = again.begin(hello(config))
            assert (welcome.stored_through, welcome.safe_through, welcome.stored_steps) == (4, 4, 80)
            again.say(TransitionBatch(2, blob(2)))
            assert again.hear(Ack).stored_through == 4
            again.store(5)
        assert receiver.stored_numbers(stream) == [4, 5]
        assert receiver.store.streams()[stream].stored_steps == 100
    finally:
        receiver.close()


def test_a_store_with_a_limit_takes_any_amount_once_the_old_leaves(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "small.db", max_bytes=2**21)) as small:
        small.register_stream(A, "pc", "sig")
        for first in range(1, 2001, 50):
            add(small, range(first, first + 50), size=10_000)
            small.note_checkpoint(first, first)
            small.prune(1000)
        assert small.total_steps() == 20_000
        assert (tmp_path / "small.db").stat().st_size <= 2**21


def test_a_store_that_is_full_has_room_again_once_the_old_leaves(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "small.db", max_bytes=2**20)) as small:
        small.register_stream(A, "pc", "sig")
        need(small, 1, 1)
        with pytest.raises(StoreFull):
            fill(small)
        through = small.streams()[A].stored_through
        small.note_checkpoint(300, through)
        small.note_checkpoint(400, through)
        assert small.prune(10) == 10
        add(small, range(through + 1, through + 11), size=20_000)


def test_a_kill_in_the_middle_of_pruning_leaves_a_whole_store(store: Store) -> None:
    add(store, range(1, 401), size=9000)
    need(store, 390, 390)
    streams = store.streams()
    script = f"""
        from train_cloud.store import Store
        store = Store({str(store.path)!r})
        while store.prune(2):
            print("pruned", flush=True)
        input()
    """
    pruner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert pruner.stdout is not None
    for _ in range(40):
        assert pruner.stdout.readline() == "pruned\n"
    pruner.kill()
    pruner.communicate(timeout=120)
    left = numbers(store)
    assert left == list(range(left[0], 401))
    assert 81 <= left[0] <= 390
    assert store.streams() == streams
    with closing(sqlite3.connect(store.path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    while store.prune(100):
        pass
    assert numbers(store) == list(range(390, 401))


def test_the_backup_prunes_what_it_has_uploaded_and_nothing_before(
    s3: MotoS3, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(backup_module, "PRUNED_AT_ONCE", 7)
    backup = Backup(store, open_store(s3.bucket, "runs/one/"), 0.02, lambda *_: None, Backoff(first=0.02, cap=0.05))
    s3.fail()
    backup.start()
    add(store, range(1, 41), safe=False)
    need(store, 31, 36)
    wait_until(lambda: caplog.text.count("backup failed") >= 3, "three attempts have failed")
    assert numbers(store) == list(range(1, 41))
    s3.heal()
    wait_until(lambda: "pruned old experience" in caplog.text, "the old experience is pruned")
    assert numbers(store) == list(range(31, 41))
    store.note_checkpoint(300, 40)
    wait_until(lambda: numbers(store)[0] == 36, "so is what the next checkpoint is past")
    assert backup.flush(120)


@pytest.mark.slow
def test_whoever_stores_meanwhile_waits_for_little(s3: MotoS3, store: Store) -> None:
    old = 20 * PRUNED_AT_ONCE
    add(store, range(1, old + 1), B, size=4000)
    need(store, old + 1, old + 1)
    backup = Backup(store, open_store(s3.bucket, "runs/one/"), 0.01, lambda *_: None)
    backup.start()
    left = [old]
    while left[-1]:
        store.add_batches([IncomingBatch(A, len(left), 10, bytes(4000))])
        left.append(len([row for row in store.positions() if row[1] == B]))
    assert backup.flush(120)
    assert len(set(left)) > 10, "the two take turns"
    assert max(before - after for before, after in pairwise(left)) < old / 2, "nobody waits for most of it"
    assert numbers(store) == list(range(1, len(left)))


def test_a_flush_does_not_wait_for_the_pruning(s3: MotoS3, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_module, "PRUNED_AT_ONCE", 1)
    add(store, range(1, 2001))
    need(store, 2001, 2001)
    backup = Backup(store, open_store(s3.bucket, "runs/one/"), 0.01, lambda *_: None)
    backup.start()
    wait_until(lambda: numbers(store)[0] > 1, "the pruning has begun")
    assert backup.flush(120)
    wait_until(lambda: all(thread.name != "backup" for thread in threading.enumerate()), "the thread has ended")
    assert len(numbers(store)) > 1000

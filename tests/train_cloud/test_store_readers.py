"""Who only reads a store sees what others commit, and changes nothing."""

import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.stores import A, batch, store, write_numbers
from train_cloud.store import (
    Store,
    StoreError,
    TrainerProgress,
)

__all__ = ["store"]


def test_who_only_reads_sees_what_another_process_commits_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a folder with ? and #" / "store.db"
    path.parent.mkdir()
    Store(path).close()
    with closing(Store(path, read_only=True)) as reader:
        assert reader.streams() == {}
        writer = multiprocessing.get_context("spawn").Process(target=write_numbers, args=(path, A, 5))
        writer.start()
        writer.join(120)
        assert reader.streams()[A].stored_through == 5
        assert [row.number for row in reader.read_batches(0, 10)] == [1, 2, 3, 4, 5]
        assert [row.number for row in reader.unsafe_batches(A, 2)] == [1, 2]


WRITES: dict[str, Callable[[Store], object]] = {
    "register_stream": lambda store: store.register_stream("c" * 32, "pc", "sig"),
    "add_batches": lambda store: store.add_batches([batch(2)]),
    "mark_safe": lambda store: store.mark_safe(A, 1),
    "note_checkpoint": lambda store: store.note_checkpoint(100, 1),
    "forget_checkpoints": lambda store: store.forget_checkpoints(beyond_steps=0),
    "prune": lambda store: store.prune(10),
    "set_ready": lambda store: store.set_ready(),
    "restore_batches": lambda store: store.restore_batches({}, []),
    "put_weights": lambda store: store.put_weights(1, b"w", "hash"),
    "put_progress": lambda store: store.put_progress(TrainerProgress(1, 2, 3, "learning")),
    "set_meta": lambda store: store.set_meta("key", "value"),
    "request_checkpoint": lambda store: store.request_checkpoint(),
}


@pytest.mark.parametrize("method", WRITES)
def test_who_only_reads_cannot_write(store: Store, method: str) -> None:
    store.add_batches([batch(1)])
    store.mark_safe(A, 1)
    for steps in (100, 200):
        store.note_checkpoint(steps, needed_from=2)
    before = "\n".join(store.connection().iterdump())
    with closing(Store(store.path, read_only=True)) as reader:
        with pytest.raises(StoreError, match="for reading only"):
            WRITES[method](reader)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.connection().execute("DELETE FROM batches")
        assert reader.progress() == TrainerProgress()
    assert "\n".join(store.connection().iterdump()) == before


def test_who_only_reads_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*absent\.db to read"):
        Store(tmp_path / "absent.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_last_takes_nothing_with_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    killed = "import os, sys; from train_cloud.store import Store; s = Store(sys.argv[1]); "
    killed += "s.set_meta('said', 'before the kill'); os._exit(1)"
    subprocess.run([sys.executable, "-c", killed, str(path)], check=False)
    with closing(Store(path, read_only=True)) as reader:
        assert reader.meta("said") == "before the kill"
    with closing(Store(path)) as again:
        assert again.meta("said") == "before the kill"

"""A store's file of another version, and several who open it at once."""

import multiprocessing
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.stores import A, B, batch, store
from train_cloud.store import (
    Store,
    StoredBatch,
    StoreError,
    StreamState,
)
from train_cloud.store_file import MIGRATIONS

__all__ = ["store"]


OLD_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE streams (
    stream TEXT PRIMARY KEY, bridge TEXT NOT NULL, signature TEXT NOT NULL,
    stored_through INTEGER NOT NULL DEFAULT 0, safe_through INTEGER NOT NULL DEFAULT 0,
    stored_steps INTEGER NOT NULL DEFAULT 0, safe_steps INTEGER NOT NULL DEFAULT 0);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL REFERENCES streams, number INTEGER NOT NULL,
    steps INTEGER NOT NULL, blob BLOB NOT NULL, UNIQUE (stream, number));
CREATE TABLE weights (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL,
    sha256 TEXT NOT NULL, blob BLOB NOT NULL);
CREATE TABLE progress (
    only INTEGER PRIMARY KEY CHECK (only = 1), trained_steps INTEGER NOT NULL,
    consumed_steps INTEGER NOT NULL, updates INTEGER NOT NULL, state TEXT NOT NULL);
INSERT INTO meta (key, value) VALUES ('ready', '1');
INSERT INTO streams (stream, bridge, signature, stored_through, stored_steps) VALUES ('old', 'pc', 'sig', 1, 10);
INSERT INTO batches (stream, number, steps, blob) VALUES ('old', 1, 10, x'61');
"""


def version_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def old_file(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "old.db")) as old:
        old.executescript(OLD_TABLES)
    return folder / "old.db"


def test_a_store_from_before_versions_is_taken_as_it_is(tmp_path: Path) -> None:
    path = old_file(tmp_path)
    with closing(Store(path)) as store:
        assert store.is_ready()
        assert store.streams() == {"old": StreamState("pc", "sig", 1, 0, 10, 0)}
        assert store.read_batches(0, 10) == [StoredBatch(1, "old", 1, 10, b"a")]
        assert store.add_batches([batch(2, "old")]) == {"old": 2}
    assert version_of(path) == max(MIGRATIONS)


def test_a_store_of_a_newer_program_is_refused_and_left_alone(store: Store) -> None:
    store.add_batches([batch(1)])
    store.close()
    with closing(sqlite3.connect(store.path)) as newer:
        newer.execute("PRAGMA user_version = 7")
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"The store .* newer version of this.*Bring this program up to date"):
            Store(store.path, read_only=read_only)
    assert version_of(store.path) == 7


def _open_at_once(path: Path, barrier: threading.Barrier, number: int) -> None:
    barrier.wait(120)
    with closing(Store(path)) as store:
        store.register_stream(f"new {number}", "pc", "sig")


@pytest.mark.slow
@pytest.mark.parametrize("made_before", [True, False])
def test_receiver_and_trainer_may_open_it_at_the_same_moment(tmp_path: Path, made_before: bool) -> None:
    path = old_file(tmp_path) if made_before else tmp_path / "new.db"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    openers = [context.Process(target=_open_at_once, args=(path, barrier, number)) for number in range(3)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join(120)
    assert [opener.exitcode for opener in openers] == [0, 0, 0]
    with closing(Store(path)) as store:
        assert {"new 0", "new 1", "new 2"} == store.streams().keys() - {"old"}
        assert len(store.read_batches(0, 10)) == made_before
    assert version_of(path) == max(MIGRATIONS)


def test_opening_a_store_that_is_up_to_date_waits_for_no_writer(store: Store) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        # It does not end before; whoever waited for it would give up with an error.
        with closing(Store(store.path)) as other:
            assert other.streams().keys() == {A, B}


def test_who_only_reads_migrates_nothing(tmp_path: Path) -> None:
    path = old_file(tmp_path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"older version of this program.*Start what writes it once"):
        Store(path, read_only=True)
    assert path.read_bytes() == before

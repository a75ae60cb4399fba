"""Migrations run once each, whoever opens the file, and never on a file that is newer than the program."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runtime.sqlite_schema import SchemaError, check_version, migrate

ONE = {1: ("CREATE TABLE IF NOT EXISTS things (name TEXT)",)}
# The second version fails when it runs twice, and counts how often it ran.
TWO = ONE | {2: ("ALTER TABLE things ADD COLUMN size INTEGER", "INSERT INTO things (name) VALUES ('migrated')")}
BROKEN = TWO | {3: ("INSERT INTO things (name) VALUES ('half')", "INSERT INTO nowhere (name) VALUES ('x')")}


def connect(path: Path, timeout: float = 30.0) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "things.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as connection:
        yield connection


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_new_file_gets_every_version(connection: sqlite3.Connection) -> None:
    assert version_of(connection) == 0
    migrate(connection, TWO, "The file")
    assert connection.execute("SELECT name, size FROM things").fetchall() == [("migrated", None)]
    assert version_of(connection) == 2


def test_a_file_from_before_versions_is_taken_as_it_is(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE things (name TEXT)")
    connection.execute("INSERT INTO things (name) VALUES ('old')")
    migrate(connection, ONE, "The file")
    assert connection.execute("SELECT name FROM things").fetchall() == [("old",)]
    assert version_of(connection) == 1


def test_only_what_is_missing_runs(connection: sqlite3.Connection) -> None:
    migrate(connection, ONE, "The file")
    migrate(connection, TWO, "The file")
    migrate(connection, TWO, "The file")
    assert connection.execute("SELECT name FROM things").fetchall() == [("migrated",)]


def test_a_file_that_is_up_to_date_is_not_written(path: Path, connection: sqlite3.Connection) -> None:
    migrate(connection, TWO, "The file")
    connection.execute("BEGIN IMMEDIATE")
    with closing(connect(path, timeout=0.0)) as other:
        migrate(other, TWO, "The file")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            migrate(other, BROKEN, "The file")


def test_a_newer_file_is_refused_in_a_sentence_and_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection, TWO, "The file")
    with pytest.raises(SchemaError) as refusal:
        migrate(connection, ONE, "The file of things")
    assert str(refusal.value) == (
        "The file of things was written by a newer version of this program: its tables are of version 2, and this "
        "program knows them up to version 1. Bring this program up to date and start it again; nothing was changed."
    )
    assert version_of(connection) == 2


def test_who_only_reads_is_refused_an_older_file_and_migrates_nothing(connection: sqlite3.Connection) -> None:
    migrate(connection, ONE, "The file")
    with pytest.raises(SchemaError, match=r"The file was written by an older version .* Start what writes it once"):
        check_version(connection, TWO, "The file")
    assert version_of(connection) == 1
    check_version(connection, ONE, "The file")


def test_a_migration_that_fails_leaves_the_file_as_it_was(connection: sqlite3.Connection) -> None:
    migrate(connection, ONE, "The file")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, BROKEN, "The file")
    assert not connection.in_transaction
    assert version_of(connection) == 1
    assert connection.execute("SELECT * FROM things").fetchall() == []


def test_of_many_that_open_a_file_at_once_one_migrates_it(path: Path) -> None:
    with closing(connect(path)) as first:
        migrate(first, ONE, "The file")
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            with closing(connect(path)) as connection:
                barrier.wait()
                migrate(connection, TWO, "The file")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with closing(connect(path)) as after:
        assert after.execute("SELECT name FROM things").fetchall() == [("migrated",)]

"""Brings a SQLite file's tables up to what the program knows, and refuses a file that knows more than the program.

A file keeps the version of its tables in its header (`PRAGMA user_version`). A file made before versions were kept
says 0 although it has the tables of version 1, so the first migration must take such tables as they are. Processes
that open a file at the same moment may all call `migrate`: one of them does the work.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

Migrations = Mapping[int, Sequence[str]]
"""The statements that lead to each version from the one before it; none of them begins or ends a transaction."""


class SchemaError(Exception):
    """The file's tables are of another version than the program's; the text is a sentence."""


def migrate(connection: sqlite3.Connection, migrations: Migrations, name: str) -> None:
    """Run the migrations that the file lacks, all of them in one transaction; writes nothing when none is missing.

    `connection` is in autocommit mode (`isolation_level=None`), outside a transaction; `name` is what the file is to
    people, as the beginning of a sentence. Raises SchemaError when the file's version is beyond the last one of
    `migrations`, which begin at 1; nothing was changed then.
    """
    if _version(connection, migrations, name) >= max(migrations):
        return
    with transaction(connection):
        # Read again behind the lock: another process may have done it while we waited.
        present = _version(connection, migrations, name)
        for version in sorted(version for version in migrations if version > present):
            for statement in migrations[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is written within, or, after any exception, nothing of it; `connection` as for `migrate`."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # SQLite rolls back by itself after some errors, and then has nothing left to roll back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_version(connection: sqlite3.Connection, migrations: Migrations, name: str) -> None:
    """For whoever only reads: raise SchemaError unless the file's tables are those that the program knows."""
    present = _version(connection, migrations, name)
    if present < max(migrations):
        raise SchemaError(
            f"{name} was written by an older version of this program: its tables are of version {present}, and this "
            f"program reads version {max(migrations)}. Start what writes it once in this version; nothing was changed."
        )


def _version(connection: sqlite3.Connection, migrations: Migrations, name: str) -> int:
    present, known = int(connection.execute("PRAGMA user_version").fetchone()[0]), max(migrations)
    if present > known:
        raise SchemaError(
            f"{name} was written by a newer version of this program: its tables are of version {present}, and this "
            f"program knows them up to version {known}. Bring this program up to date and start it again; nothing "
            "was changed."
        )
    return present

"""The store's tables of how a run went and goes: points of its curves, the newest report, and who says that it lives.

The trainer writes points and reports, trainer and receiver say about once a second that they live; whoever watches
reads.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from train_cloud.store_file import StoreFile

KEPT: Final = 2000
"""Points that remain, whatever the run's length."""
_DIGITS: Final = 7
"""Significant ones of a curve's value: what float32 has."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""What SQLite has room for, whatever a document says."""

_values = msgspec.json.Decoder(dict[str, float])


class Point(msgspec.Struct, frozen=True):
    """The curves of a run at one moment.

    Attributes:
        at: Unix time, s.
        steps: environment steps taken in.
        life: how often the run had been resumed: between two lives lies an interruption.
        values: by TensorBoard's tags; a curve of which nothing is known yet is not among them.
    """

    at: float
    steps: Count
    life: Count
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Beat:
    """A process's newest sign of life: when, as Unix time (s), and at what it was."""

    at: float
    state: str


def put_point(store: StoreFile, point: Point) -> None:
    """Add a point. Beyond KEPT, one is dropped for it: never the first or the newest, but where they lie densest.

    So every second one is dropped, the oldest first, and once that is done every second of those that are left: points
    stay even over as many as were ever put, which are even over the time of training, however long it was interrupted.
    """
    with store.writing() as db:
        db.execute(
            "INSERT INTO points (at, steps, life, content) VALUES (?, ?, ?, ?)",
            (point.at, point.steps, point.life, _content(point)),
        )
        (count,) = db.execute("SELECT COUNT(*) FROM points").fetchone()
        if count > KEPT:
            db.execute(
                "DELETE FROM points WHERE id IN (SELECT id FROM (SELECT id, "
                "LEAD(id) OVER (ORDER BY id) - LAG(id) OVER (ORDER BY id) AS apart FROM points) "
                "WHERE apart IS NOT NULL ORDER BY apart, id LIMIT ?)",
                (count - KEPT,),
            )


def points(store: StoreFile, after_id: int = 0) -> list[tuple[int, Point]]:
    """The points put after the one of this id, each with its id, in their order."""
    found = store.rows("SELECT id, at, steps, life, content FROM points WHERE id > ? ORDER BY id", (after_id,))
    return [(row[0], Point(row[1], row[2], row[3], _values.decode(row[4]))) for row in found]


def restore_points(store: StoreFile, numbered: Iterable[tuple[int, Point]]) -> None:
    """Put back points under the ids that they had in a store that is lost; there must be none of these here."""
    rows = [(number, point.at, point.steps, point.life, _content(point)) for number, point in numbered]
    with store.writing() as db:
        db.executemany("INSERT INTO points (id, at, steps, life, content) VALUES (?, ?, ?, ?, ?)", rows)


def forget_points(store: StoreFile, beyond_steps: int = -1) -> None:
    """Forget the points beyond these steps, or all: the run goes on from a checkpoint there, and will come by again."""
    with store.writing() as db:
        db.execute("DELETE FROM points WHERE steps > ?", (beyond_steps,))


def put_report(store: StoreFile, document: Mapping[str, Any]) -> None:
    """Keep the newest document of metrics.json; numbers that are not finite become null."""
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO report (only, content) VALUES (1, ?)", (msgspec.json.encode(document),))


def report(store: StoreFile) -> dict[str, Any]:
    """The newest document; {} before the first."""
    found = store.rows("SELECT content FROM report")
    return dict(msgspec.json.decode(found[0][0])) if found else {}


def put_beat(store: StoreFile, process: str, state: str) -> None:
    """Say that this process ("trainer", "receiver") lives now, and at what it is."""
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO beats (process, at, state) VALUES (?, ?, ?)", (process, time.time(), state))


def beats(store: StoreFile) -> dict[str, Beat]:
    """Each process's newest sign of life, by its name."""
    return {row[0]: Beat(row[1], row[2]) for row in store.rows("SELECT process, at, state FROM beats")}


def _content(point: Point) -> bytes:
    return msgspec.json.encode({tag: float(f"{value:.{_DIGITS}g}") for tag, value in point.values.items()})

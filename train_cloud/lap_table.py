"""The store's tables of clean laps: the newest by their sectors, and the course of those that are worth a look.

The trainer tells both from what the cars observed, so that simulator, game, human and policy all have them.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import msgspec

from train_cloud.history_table import Count
from train_cloud.store_file import StoreFile

KEPT: Final = 1000
"""Laps that remain, the newest."""
SAMPLES: Final = 600
"""A trace has at most so many."""

Kind = Literal["best", "newest", "human"]
"""The policy's best lap and its newest, and the best without a policy."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_sectors = msgspec.json.Decoder(tuple[float, ...])


class LapRow(msgspec.Struct, frozen=True):
    """A clean lap.

    Attributes:
        at: Unix time when it was taken in, s.
        steps: of the run by then.
        version: of the policy that ended it; 0 where none drove: a human's lap, or another demonstration.
        time: s.
        sectors: the time in each, s.
    """

    at: float
    steps: Count
    version: Count
    time: float
    sectors: tuple[float, ...]


class LapTrace(msgspec.Struct, frozen=True):
    """The course of a clean lap at up to SAMPLES places, evenly spaced from line to line; the lists are equally long.

    Raises ValueError where they are not.

    Attributes:
        time: of the lap, s.
        version, steps: as LapRow has them.
        seconds: since the lap began.
        metres: along the centreline from the line.
        gap: m to the left of the centreline.
        speed: m/s.
        steer: -1..1 of full lock, to the left positive.
        pedals: throttle less brake, -1..1.
        gear: -1 reverse, 0 neutral, 1 and up forward.
    """

    time: float
    version: Count
    steps: Count
    seconds: list[float]
    metres: list[float]
    gap: list[float]
    speed: list[float]
    steer: list[float]
    pedals: list[float]
    gear: list[float]

    def __post_init__(self) -> None:
        columns = (self.seconds, self.metres, self.gap, self.speed, self.steer, self.pedals, self.gear)
        if len({len(column) for column in columns}) > 1 or len(self.seconds) > SAMPLES:
            raise ValueError(f"The columns of a lap's trace are equally long, and have at most {SAMPLES} samples.")


def add_laps(store: StoreFile, rows: Sequence[LapRow]) -> None:
    """Add laps in their order; the newest KEPT remain."""
    with store.writing() as db:
        db.executemany(
            "INSERT INTO laps (at, steps, version, time, sectors) VALUES (?, ?, ?, ?, ?)",
            [(row.at, row.steps, row.version, row.time, msgspec.json.encode(row.sectors)) for row in rows],
        )
        db.execute("DELETE FROM laps WHERE id <= (SELECT id FROM laps ORDER BY id DESC LIMIT 1 OFFSET ?)", (KEPT,))


def laps(store: StoreFile, limit: int = 50) -> list[LapRow]:
    """The newest laps, at most `limit`, the newest first."""
    found = store.rows("SELECT at, steps, version, time, sectors FROM laps ORDER BY id DESC LIMIT ?", (limit,))
    return [LapRow(row[0], row[1], row[2], row[3], _sectors.decode(row[4])) for row in found]


def forget_laps(store: StoreFile, beyond_steps: int = -1) -> None:
    """Forget the laps beyond these steps, or all: the run goes on from a checkpoint there, and takes them in again."""
    with store.writing() as db:
        db.execute("DELETE FROM laps WHERE steps > ?", (beyond_steps,))


def put_trace(store: StoreFile, kind: Kind, trace: LapTrace) -> None:
    """Keep `trace` as the one of its kind."""
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO traces (kind, content) VALUES (?, ?)", (kind, msgspec.json.encode(trace)))


def traces(store: StoreFile) -> dict[str, LapTrace]:
    """The traces that there are, by their kind."""
    found = store.rows("SELECT kind, content FROM traces ORDER BY kind")
    return {kind: msgspec.json.decode(content, type=LapTrace) for kind, content in found}

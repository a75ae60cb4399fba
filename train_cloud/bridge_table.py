"""The store's table of how each bridge stands, for whoever watches: the receiver writes it, about once a second."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from train_cloud.store_file import StoreFile

KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class BridgeStanding:
    """One bridge, by its stream.

    Attributes:
        role, software: as it said in its Hello.
        connected: now; False for one that has gone, whose other figures are its last ones.
        heard_at: Unix time (s) of its last report, or of its Hello before the first.
        policy_version: of the weights that drive; 0 for none.
        steps_per_second: driven.
        unsent_steps: waiting in its spool.
        off_period_steps: of this drive, that took another time than a control period.
        action_age: mean time from an observation to its action, s; None when unknown.
        round_trip: of its newest Ping, s; None when unknown.
        real_time: it collects, and its one car waits for nobody, as it said in its Hello, so that it can judge a policy
            alone; false for simulated cars that wait, and for several.
    """

    stream: str
    bridge: str
    role: str
    software: str
    connected: bool
    heard_at: float
    policy_version: int = 0
    steps_per_second: float = 0.0
    unsent_steps: int = 0
    off_period_steps: int = 0
    action_age: float | None = None
    round_trip: float | None = None
    real_time: bool = False


_COLUMNS = ", ".join(field.name for field in fields(BridgeStanding))
_VALUES = ", ".join(f":{field.name}" for field in fields(BridgeStanding))


def put_standings(store: StoreFile, standings: Iterable[BridgeStanding]) -> None:
    """Write how these bridges stand, in one transaction; of those that have gone, the newest KEPT are remembered."""
    with store.writing() as db:
        db.executemany(f"INSERT OR REPLACE INTO bridges ({_COLUMNS}) VALUES ({_VALUES})", map(asdict, standings))
        db.execute(
            "DELETE FROM bridges WHERE NOT connected AND heard_at < "
            "(SELECT heard_at FROM bridges ORDER BY heard_at DESC LIMIT 1 OFFSET ?)",
            (KEPT - 1,),
        )


def nobody_is_connected(store: StoreFile) -> None:
    """Say that no bridge is connected, as when the receiver begins."""
    with store.writing() as db:
        db.execute("UPDATE bridges SET connected = 0 WHERE connected")


def standings(store: StoreFile) -> list[BridgeStanding]:
    """How each bridge stands that is remembered, the newest first."""
    found = store.rows(f"SELECT {_COLUMNS} FROM bridges ORDER BY heard_at DESC, stream")
    return [replace(BridgeStanding(*row), connected=bool(row[4]), real_time=bool(row[-1])) for row in found]

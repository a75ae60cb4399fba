"""The instance's file of where the cars are now: the receiver replaces it, whoever watches reads it.

It is news of the last tenth of a second and nothing else: no experience depends on it, and none is stored in it.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from train_cloud.spot_table import Spots

MAX_CARS: Final = 256
MAX_BYTES: Final = 2**20
"""A larger file is none of ours."""


class LiveCar(msgspec.Struct, frozen=True):
    """A bridge's first car as its newest Telemetry said; `at` is when that came, Unix time in s.

    `place` is in m along the track's centreline, `gap` in m left of it, both None where it is on no track that is
    known; `speed` in m/s, `lap_time` in s since the line, `delta` in s against the drive's best lap at this place;
    `steer` is -1 to 1, positive to the left. `valid`: never more than two wheels were off the track in this lap, where
    the bridge streams; one that drives does not say.
    """

    stream: str
    bridge: str
    at: float
    place: float | None
    gap: float | None
    speed: float
    gear: int
    throttle: float
    brake: float
    steer: float
    laps: int
    lap_time: float
    delta: float | None
    valid: bool = True


class LiveFile(msgspec.Struct, frozen=True):
    """The cars of all connected bridges, and the places (m) and gaps (m) where cars left the track, oldest first.

    `at` is when it was written, Unix time in s.
    """

    at: float
    bridges: Annotated[tuple[LiveCar, ...], Meta(max_length=MAX_CARS)] = ()
    spots: Spots = ()


def write_live(path: Path, live: LiveFile) -> None:
    """Replace the file whole; for one writer at a time. Raises OSError, and what was there stays.

    It is not brought to the disk: after a power cut nobody needs it.
    """
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_bytes(msgspec.json.encode(live))
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def read_live(path: Path) -> LiveFile | None:
    """What was written last; None while there is no file, or one that cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return msgspec.json.decode(content, type=LiveFile) if len(content) <= MAX_BYTES else None
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None

"""The tracks that bridges announce as their Hellos named them: checked, kept with the run, and how short a lap is."""

import asyncio
import logging
from typing import Final

from racing.track import TrackError
from racing.track_text import track_hash
from runtime.logs import fields
from train_cloud.receiver.connection import PeerError
from train_cloud.receiver.plausible import shortest_lap_on
from train_cloud.store import Store, StoreError
from train_cloud.track_table import put_track, track
from wire.messages import CloseCode, ErrorCode

LAPS_KNOWN: Final = 1000
"""Tracks whose shortest lap is remembered, so that a Hello needs no look at a track's text."""

_log = logging.getLogger(__name__)


async def announced_lap(store: Store, named: str | None, content: bytes) -> float:
    """Keep the track and return the time of its shortest lap (s); 0 where it cannot be kept now.

    Raises PeerError for another track than the one `named` by its hash, or none.
    """
    try:
        return await asyncio.to_thread(_keep, store, named, content)
    except TrackError as error:
        raise PeerError(ErrorCode.BAD_MESSAGE, str(error), CloseCode.INVALID_DATA) from None
    except StoreError as error:
        # The next Welcome asks for it again.
        _log.warning("a track cannot be kept", extra=fields(reason=error))
        return 0.0


def _keep(store: Store, named: str | None, content: bytes) -> float:
    if (sha256 := track_hash(content)) != named:
        raise TrackError("The track that was announced is not the one that Hello named.")
    lap = shortest_lap_on(content)
    put_track(store, sha256, content)
    return lap


class KnownLaps:
    """How long a lap takes at least on the tracks that were announced."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._laps: dict[str, float] = {}

    def shortest(self, track_hash: str | None) -> float | None:
        """Seconds; None on a track that is not known. Not for the loop. Raises StoreError."""
        if track_hash is None or track_hash in self._laps:
            return self._laps.get(track_hash or "")
        if (text := track(self._store, track_hash)) is None:
            return None
        if len(self._laps) >= LAPS_KNOWN:
            self._laps.clear()
        return self._laps.setdefault(track_hash, shortest_lap_on(text))

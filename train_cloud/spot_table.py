"""The store's table of where cars left the track: what the receiver heard, and what a run brought from the bucket."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from train_cloud.store_file import StoreFile

KEPT: Final = 500
"""Newest places of each source."""

Spot = tuple[float, float]
"""Place (m) along the track's centreline, and gap (m) to the left of it."""
Spots = Annotated[tuple[Spot, ...], Meta(max_length=KEPT)]
Source = Literal["taken_up", "heard"]
"""From the bucket's history, of an earlier machine; or told by bridges to this receiver."""


def put_spots(store: StoreFile, source: Source, spots: Sequence[Spot]) -> None:
    """Keep the newest of `spots`, which are oldest first, as those of this source."""
    content = msgspec.json.encode(spots[-KEPT:])
    with store.writing() as db:
        db.execute("INSERT OR REPLACE INTO spots (source, content) VALUES (?, ?)", (source, content))


def spots(store: StoreFile, source: Source) -> tuple[Spot, ...]:
    """Those of this source, oldest first."""
    found = store.rows("SELECT content FROM spots WHERE source = ?", (source,))
    return msgspec.json.decode(found[0][0], type=Spots) if found else ()


def all_spots(store: StoreFile) -> tuple[Spot, ...]:
    """The newest KEPT of both sources, oldest first."""
    return (spots(store, "taken_up") + spots(store, "heard"))[-KEPT:]

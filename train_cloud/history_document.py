"""history.json in the bucket: what of a run's history the store's tables hold, for who has no store.

A resumed run on another machine goes on from it, and the report is made from it.
"""

import itertools

import msgspec

from train_cloud.history_table import KEPT as POINTS_KEPT
from train_cloud.history_table import Count, Point, forget_points, points, restore_points
from train_cloud.lap_table import KEPT, KINDS, LapRow, LapTrace, add_laps, forget_laps, laps, put_trace, traces
from train_cloud.spot_table import Spots, all_spots, put_spots
from train_cloud.store_file import StoreFile


class HistoryDocument(msgspec.Struct, kw_only=True):
    """The document; whatever is missing in it is empty.

    Attributes:
        points: oldest first.
        ids: of the points in the store, by which they are thinned.
        laps: clean ones, newest first.
        traces: by their kinds, as lap_table has them.
        spots: where cars left the track, oldest first.
    """

    points: list[Point] = []
    ids: list[Count] = []
    laps: list[LapRow] = []
    traces: dict[str, LapTrace] = {}
    spots: Spots = ()


def history_of(store: StoreFile) -> HistoryDocument:
    """What the store has. Raises StoreError."""
    numbered = points(store)
    return HistoryDocument(
        points=[point for _, point in numbered],
        ids=[number for number, _ in numbered],
        laps=laps(store, KEPT),
        traces=traces(store),
        spots=all_spots(store),
    )


def encode_history(document: HistoryDocument) -> bytes:
    """As JSON."""
    return msgspec.json.encode(document)


def decode_history(content: bytes) -> HistoryDocument:
    """The document in `content`. Raises msgspec.DecodeError for what is none."""
    return msgspec.json.decode(content, type=HistoryDocument)


def newest_of(document: HistoryDocument) -> float:
    """When its newest point was put, else its newest lap; 0.0 where there is neither. Unix time, s."""
    newest = document.points[-1:] or document.laps[:1]
    return newest[0].at if newest else 0.0


def restore_history(store: StoreFile, document: HistoryDocument) -> None:
    """Have the store's tables say what `document` does. Raises StoreError: then they say what they did."""
    kept, ids = document.points[-POINTS_KEPT:], document.ids[-POINTS_KEPT:]
    if len(ids) != len(kept) or any(first >= then for first, then in itertools.pairwise([0, *ids])):
        ids = list(range(1, len(kept) + 1))
    with store.writing():
        forget_laps(store)
        add_laps(store, document.laps[:KEPT][::-1])
        for kind in KINDS:
            if kind in document.traces:
                put_trace(store, kind, document.traces[kind])
        put_spots(store, "taken_up", document.spots)
        forget_points(store)
        restore_points(store, zip(ids, kept, strict=True))

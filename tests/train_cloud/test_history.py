"""What the store keeps of a run's history, within bounds, and how it comes through the bucket's document."""

import itertools
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from train_cloud.history_document import (
    HistoryDocument,
    decode_history,
    encode_history,
    history_of,
    restore_history,
)
from train_cloud.history_table import (
    KEPT,
    Point,
    beats,
    forget_points,
    points,
    put_beat,
    put_point,
    put_report,
    report,
    restore_points,
)
from train_cloud.lap_table import KEPT as LAPS_KEPT
from train_cloud.lap_table import LapRow, LapTrace, add_laps, forget_laps, laps, put_trace, traces
from train_cloud.store import Store, StoreError


def point(number: int, life: int = 0) -> Point:
    return Point(1000.0 + number, 10 * number, life, {"drive/mean_reward": number / 3})


def lap(number: int, version: int = 3) -> LapRow:
    return LapRow(1000.0 + number, 10 * number, version, 60.0 + number, (20.0, 20.0, 20.0 + number))


def trace(time: float) -> LapTrace:
    return LapTrace(time, 3, 40, *([0.0, number] for number in (time, 1200.0, -0.5, 50.0, 0.25, -1.0, 4.0)))


def full(store: Store, count: int) -> None:
    """As many points as `count`, of which all but the last few were put back."""
    kept = min(count - 5, KEPT)
    restore_points(store, [(number, point(number)) for number in range(1, kept + 1)])
    for number in range(kept + 1, count + 1):
        put_point(store, point(number))


def test_all_points_are_kept_until_there_are_too_many(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        full(store, KEPT)
        assert [number for number, _ in points(store)] == [*range(1, KEPT + 1)]
        assert points(store, KEPT - 1) == [(KEPT, Point(1000.0 + KEPT, 10 * KEPT, 0, {"drive/mean_reward": 666.6667}))]


def test_the_oldest_second_points_make_room_and_both_ends_stay(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        full(store, KEPT + 5)
        kept = [number for number, _ in points(store)]
    assert kept == [1, 3, 5, 7, 9, *range(11, KEPT + 6)]


def test_however_many_came_they_lie_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train_cloud.history_table.KEPT", 20)
    with closing(Store(tmp_path / "store.db")) as store:
        for number in range(1, 334):
            put_point(store, point(number))
            kept = [number for number, _ in points(store)]
            assert len(kept) == min(number, 20)
            assert (kept[0], kept[-1]) == (1, number)
    # 333 numbers between 20 points: 17 apart.
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert max(gaps) <= 32
    assert min(gaps[:-1]) >= 8


def test_a_run_that_goes_back_to_its_checkpoint_forgets_what_was_beyond(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        for number in (1, 2, 3):
            put_point(store, point(number))
        add_laps(store, [lap(number) for number in (1, 2, 3)])
        forget_points(store, beyond_steps=20)
        forget_laps(store, beyond_steps=20)
        put_point(store, point(2, life=1))
        assert [(number, found.life) for number, found in points(store)] == [(1, 0), (2, 0), (4, 1)]
        assert laps(store) == [lap(2), lap(1)]


def test_a_report_and_beats_are_the_newest(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store, closing(Store(store.path, read_only=True)) as reader:
        assert (report(reader), beats(reader)) == ({}, {})
        for steps in (1, 2):
            put_report(store, {"steps": steps, "losses": {"actor_loss": float("nan")}})
        assert report(reader) == {"steps": 2, "losses": {"actor_loss": None}}
        before = time.time()
        put_beat(store, "trainer", "rebuilding")
        put_beat(store, "trainer", "training")
        put_beat(store, "receiver", "healthy")
        found = beats(reader)
        assert {process: beat.state for process, beat in found.items()} == {
            "trainer": "training",
            "receiver": "healthy",
        }
        assert all(before <= beat.at <= time.time() for beat in found.values())


def test_the_newest_laps_remain(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        add_laps(store, [lap(number) for number in range(LAPS_KEPT)])
        add_laps(store, [lap(LAPS_KEPT, version=0)])
        assert laps(store, 2) == [lap(LAPS_KEPT, version=0), lap(LAPS_KEPT - 1)]
        assert [row.steps for row in laps(store, 9999)] == [10 * number for number in range(LAPS_KEPT, 0, -1)]


def test_history_comes_through_the_bucket_as_it_was(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store, closing(Store(tmp_path / "other.db")) as other:
        full(store, KEPT + 3)
        add_laps(store, [lap(number) for number in (1, 2, 3)])
        put_trace(store, "best", trace(70.0))
        put_trace(store, "best", trace(60.0))
        put_trace(store, "human", trace(65.0))
        content = encode_history(history_of(store))
        restore_history(other, decode_history(content))
        assert points(other) == points(store)
        assert laps(other) == [lap(3), lap(2), lap(1)]
        assert traces(other) == {"best": trace(60.0), "human": trace(65.0)}
        # Ids, by which points are thinned, go on where they were.
        put_point(other, point(KEPT + 4))
        assert [number for number, _ in points(other)][:4] == [1, 3, 5, 7]
        assert points(other)[-1][0] == KEPT + 4


@pytest.mark.parametrize("ids", [[], [3], [2, 1], [0, 4]])
def test_points_without_good_ids_are_numbered_anew(tmp_path: Path, ids: list[int]) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        restore_history(store, HistoryDocument(points=[point(5), point(6)], ids=ids))
        assert points(store) == [(1, point_rounded(5)), (2, point_rounded(6))]


def point_rounded(number: int) -> Point:
    return msgspec.structs.replace(point(number), values={"drive/mean_reward": float(f"{number / 3:.7g}")})


def test_a_document_may_lack_everything_and_must_be_one() -> None:
    assert decode_history(b"{}") == HistoryDocument()
    for content in (b"", b"[]", b'{"points": [{"at": "noon"}]}', b"\xff"):
        with pytest.raises(msgspec.DecodeError):
            decode_history(content)


def test_who_only_reads_puts_nothing(tmp_path: Path) -> None:
    Store(tmp_path / "store.db").close()
    with closing(Store(tmp_path / "store.db", read_only=True)) as reader:
        puts: tuple[Callable[[], None], ...] = (
            lambda: put_point(reader, point(1)),
            lambda: put_report(reader, {}),
            lambda: put_beat(reader, "trainer", "training"),
            lambda: add_laps(reader, [lap(1)]),
            lambda: put_trace(reader, "best", trace(60.0)),
        )
        for put in puts:
            with pytest.raises(StoreError, match="opened for reading only"):
                put()

"""What the trainer tells of itself second by second: what is put, what is taken up, and that it never stops a run."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from tests.support.driven_laps import driven_lap
from tests.support.experience import incoming
from tests.support.moto_s3 import MotoS3, s3
from tests.support.trainer_runs import Run, run
from tests.support.waiting import wait_until
from train_cloud.history_document import HistoryDocument, encode_history, history_of
from train_cloud.history_table import Point, beats, points, put_point, report
from train_cloud.lap_table import laps, traces
from train_cloud.open_store import open_store
from train_cloud.run_folder.keys import HISTORY
from train_cloud.spot_table import put_spots
from train_cloud.store import Store
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.reporting.history import History, take_up
from train_cloud.trainer.reporting.tracking import TAGS
from train_cloud.trainer.saving.uploads import Uploads

__all__ = ["run", "s3"]

LENGTH = 1234.0


@pytest.fixture
def uploads(s3: MotoS3) -> Iterator[Uploads]:
    made = Uploads(open_store(s3.bucket, "runs/history/"), None)
    yield made
    made.close()


def document(steps: int, **more: object) -> dict[str, object]:
    """As much of metrics.json as curves need."""
    return dict.fromkeys(TAGS.values()) | {"steps": steps, "state": "training", "losses": {"loss": 0.5}} | more


def test_laps_and_their_traces_are_put_with_the_next_note(tmp_path: Path, uploads: Uploads) -> None:
    counters = Counters(steps=100)
    with closing(Store(tmp_path / "store.db")) as store:
        history = History(store, uploads, counters)
        history.lapped([driven_lap((20.0, 20.0, 20.0)), driven_lap((19.0, 20.0, 20.0), version=0)])
        assert laps(store) == []
        history.note(document(100), LENGTH)
        assert [(row.steps, row.version, row.time) for row in laps(store)] == [(100, 0, 59.0), (100, 7, 60.0)]
        found = traces(store)
        assert {kind: trace.time for kind, trace in found.items()} == {"best": 60.0, "newest": 60.0, "human": 59.0}
        assert found["best"].metres[-1] == LENGTH

        counters.steps = 200
        history.lapped([driven_lap((20.0, 20.0, 18.0)), driven_lap((20.0, 21.0, 20.0), 8)])
        history.lapped([driven_lap((20.0, 21.0, 20.0), version=0)])
        history.note(document(200), LENGTH)
        times = {kind: (trace.time, trace.version, trace.steps) for kind, trace in traces(store).items()}
        assert times == {"best": (58.0, 7, 200), "newest": (61.0, 8, 200), "human": (59.0, 0, 100)}

        # A life that goes on has the bests of the one before, and counts laps beyond its checkpoint once.
        later = History(store, uploads, Counters(steps=100, resumes=1))
        assert len(laps(store)) == 2
        later.lapped([driven_lap((20.0, 20.0, 19.0))])
        later.note(document(150), LENGTH)
        times = {kind: (trace.time, trace.version, trace.steps) for kind, trace in traces(store).items()}
        assert times == {"best": (58.0, 7, 200), "newest": (59.0, 7, 100), "human": (59.0, 0, 100)}


def test_points_are_drawn_where_steps_came_and_say_whose_life_they_are_of(tmp_path: Path, uploads: Uploads) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        history = History(store, uploads, Counters())
        for steps, drawn in ((0, True), (10, False), (20, True), (20, True), (30, True)):
            history.note(document(steps), None, drawn)
        later = History(store, uploads, Counters(steps=20, resumes=1))
        later.note(document(20), None, drawn=True)
        later.note(document(25), None, drawn=True)
        assert [(number, point.steps, point.life) for number, point in points(store)] == [(1, 20, 0), (3, 25, 1)]
        assert points(store)[0][1].values == {"train/loss": 0.5}
        assert (report(store)["steps"], beats(store)["trainer"].state) == (25, "training")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_that_takes_nothing_costs_one_warning(
    tmp_path: Path, uploads: Uploads, read_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Store(tmp_path / "store.db").close()
    # A page more would be one too many.
    with closing(Store(tmp_path / "store.db", None if read_only else 1, read_only)) as store:
        history = History(store, uploads, Counters())
        for steps in range(1, 60):
            history.lapped([driven_lap((20.0, 20.0, 20.0 - steps / 100))] * 40)
            history.note(document(steps), LENGTH, drawn=True)
        history.beat("done")
        assert len(laps(store)) < 40 * 59
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("the run's history is not written: training goes on")


@pytest.mark.slow
def test_a_run_ends_as_ever_where_its_history_cannot_be_written(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with closing(sqlite3.connect(run.store.path, isolation_level=None)) as database:
        for table in ("points", "report", "beats", "laps", "traces", "spots"):
            refuse = f"BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no room'); END"
            database.execute(f"CREATE TRIGGER no_{table} {refuse}")
    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    assert run.metrics()["state"] == "done"
    assert caplog.text.count("the run's history is not written") == 1
    assert report(run.store) == {}


@pytest.mark.slow
def test_a_run_goes_on_without_the_history_that_is_bad(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 60)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    assert run.objects.find(HISTORY) is not None
    put = points(run.store)
    run.objects.put(HISTORY, b'{"points": 3}')
    run.store.add_batches(incoming(range(11, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    assert "the bucket's history cannot be taken up: it goes on from what is here" in caplog.text
    assert points(run.store)[: len(put)] == put
    assert points(run.store)[-1][1].life == 1


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"laps": [{"at": 1e999}]}', b"\xff\xfe", b'{"ids": [-1]}', b'{"ids": [1e30]}']
)
def test_what_is_missing_or_bad_is_not_taken_up(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        put_point(store, Point(5.5, 55, 0, {}))
        take_up(store, lambda: content)
        assert [point.at for _, point in points(store)] == [5.5]
    assert "goes on from what is here" in caplog.text


def test_whichever_history_is_newer_is_gone_on_with(tmp_path: Path) -> None:
    theirs = HistoryDocument(points=[Point(5.0, 50, 0, {}), Point(6.0, 60, 0, {})], ids=[3, 9])
    theirs.spots = ((10.0, 5.0), (20.0, -5.0))
    with closing(Store(tmp_path / "store.db")) as store:
        put_point(store, Point(5.5, 55, 0, {}))
        take_up(store, lambda: encode_history(theirs))
        assert points(store) == [(3, theirs.points[0]), (9, theirs.points[1])]
        put_spots(store, "heard", [(30.0, 5.0)])
        assert history_of(store).spots == (*theirs.spots, (30.0, 5.0))
        put_point(store, Point(7.0, 70, 1, {}))
        take_up(store, lambda: encode_history(theirs))
        assert [point.steps for _, point in points(store)] == [50, 60, 70]


def test_a_trace_whose_columns_differ_in_length_is_none() -> None:
    good = driven_lap((20.0, 20.0, 20.0)).course.trace(7, 10, LENGTH)
    assert msgspec.json.decode(msgspec.json.encode(good), type=type(good)) == good
    bad = msgspec.json.encode(msgspec.structs.asdict(good) | {"gap": [1.0]})
    with pytest.raises(msgspec.ValidationError, match="equally long"):
        msgspec.json.decode(bad, type=type(good))

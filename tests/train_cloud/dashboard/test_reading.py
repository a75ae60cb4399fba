"""What a look reads of a store, of live.json and of an instance's files, and what it does where some is missing."""

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from racing.track import Track
from tests.support.dashboards import CONFIG, LivingRun
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.bridge_table import BridgeStanding, put_standings
from train_cloud.dashboard.reading import Reading
from train_cloud.dashboard.track_map import POINTS
from train_cloud.history_table import KEPT, Point, forget_points, put_point, put_report
from train_cloud.instance.account import State
from train_cloud.instance.ledger import Life
from train_cloud.lap_table import LapRow, LapTrace, add_laps, put_trace
from train_cloud.live_file import LiveFile, write_live
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import BUDGET, INSTANCE_CONFIG, LIVE
from train_cloud.spot_table import put_spots
from train_cloud.store import IncomingBatch, Store

TRACK = Track.generate(7, 1200.0)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LivingRun]:
    running = LivingRun(tmp_path)
    yield running
    running.close()


@pytest.fixture
def reading(run: LivingRun) -> Iterator[Reading]:
    one = Reading(CONFIG, run.folder, run.folder)
    yield one
    one.close()


def seen(look: dict[str, Any]) -> dict[str, Any]:
    """As the page gets it."""
    return dict(json.loads(msgspec.json.encode(look)))


def trace(time_s: float, version: int) -> LapTrace:
    even = [0.0, 400.0, 800.0]
    return LapTrace(time_s, version, 900, [0.0, 11.0, 21.0], even, [0.0, 1.0, -1.0], even, even, even, even)


def test_a_look_tells_laps_bridges_and_what_is_safe(run: LivingRun, reading: Reading) -> None:
    run.progress(9_000, 8_400)
    run.store.register_stream("a" * 32, "pc-a", "sig")
    run.store.add_batches([IncomingBatch("a" * 32, 1, 9_100, b"x")])
    report = {
        "laps": 41,
        "clean_laps": 12,
        "best_lap_s": 33.4,
        "policy_lap_s": 33.5,
        "policy_sectors_s": [11.5, 11.0, 11.0],
        "human_lap_s": 32.5,
        "human_sectors_s": [11.0, 10.75, 10.75],
        "checkpoint_steps": 5_000,
        "mean_metres": 812.4,
        "losses": {"actor_loss": -1.5, "ent_coef": float("nan")},
        "judged": {"newest": None, "best": None},
    }
    put_report(run.store, report)
    add_laps(run.store, [LapRow(time.time(), 8_900, 0, 32.5, (11.0, 10.75, 10.75))])
    add_laps(run.store, [LapRow(time.time(), 8_950, 31, 34.0, (11.5, 11.25, 11.25))])
    look = seen(reading.look())
    assert look["verdict"]["word"] == "learning"
    assert look["progress"]["mean_metres"] == 812.4
    assert look["progress"]["losses"] == {"actor_loss": -1.5, "ent_coef": None}
    laps = look["laps"]
    assert laps["best"] == {"time_s": 33.5, "sectors_s": [11.5, 11.0, 11.0], "clean": True, "delta_s": 1.0}
    assert laps["last"] == {"time_s": 34.0, "sectors_s": [11.5, 11.25, 11.25], "clean": True, "delta_s": 1.5}
    assert laps["human"]["delta_s"] == 0.0
    assert (laps["count"], laps["clean"], laps["reference"], len(laps["recent"])) == (41, 12, None, 2)
    assert look["safety"]["unsafe_steps"] == 9_100
    assert look["safety"]["would_lose"].startswith("Nothing that was driven; learning from the 4,000 steps")
    assert look["revisions"]["laps"] == 2


def test_in_a_remote_run_what_is_not_in_the_bucket_would_be_lost(run: LivingRun) -> None:
    run.store.register_stream("a" * 32, "trainer", "sig")
    run.store.add_batches([IncomingBatch("a" * 32, 1, 40, b"x")])
    remote = run_config(environment={"kind": "gymnasium", "id": "Pendulum-v1", "source": "remote"})
    reading = Reading(remote, run.folder)
    look = seen(reading.look())
    assert look["safety"]["would_lose"] == "The newest 40 steps, which are not in the bucket yet."
    assert look["racing"] is False
    assert reading.track() is None
    reading.close()


def test_what_nothing_has_changed_of_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = LivingRun(tmp_path, beating=False)
    reading = Reading(CONFIG, tmp_path)
    reading.look()
    asked: list[str] = []
    rows = Store.rows

    def counted(self: Store, sql: str, values: tuple[object, ...] = ()) -> list[Any]:
        asked.append(sql)
        return rows(self, sql, values)

    monkeypatch.setattr(Store, "rows", counted)
    assert not reading.changed()
    reading.look()
    assert set(asked) == {"PRAGMA data_version"}
    run.progress(10, 1)
    assert reading.changed()
    assert seen(reading.look())["progress"]["updates"] == 1
    reading.close()
    run.close()


def test_the_curves_come_point_by_point_and_again_when_some_are_forgotten(run: LivingRun, reading: Reading) -> None:
    for n in range(1, 6):
        values = {"drive/mean_metres": 10.0 * n} | ({"judged/newest_clean_laps": 1.0} if n > 3 else {})
        put_point(run.store, Point(1000.0 + n, 100 * n, n // 4, values))
    history = json.loads(reading.history())
    assert history["steps"] == [100, 200, 300, 400, 500]
    assert history["life"] == [0, 0, 0, 1, 1]
    assert history["series"]["judged/newest_clean_laps"] == [None, None, None, 1.0, 1.0]
    assert json.loads(reading.history(history["last_id"] - 1))["at"] == [1005.0]
    nothing = json.loads(reading.history(10**12))
    assert (nothing["last_id"], nothing["at"], nothing["series"]) == (10**12, [], {})
    forget_points(run.store, beyond_steps=300)
    put_point(run.store, Point(2000.0, 350, 2, {}))
    again = json.loads(reading.history())
    assert again["steps"] == [100, 200, 300, 350]
    assert seen(reading.look())["revisions"]["history"] == again["last_id"]


@pytest.mark.slow
def test_a_long_run_has_no_more_points_than_are_kept(run: LivingRun, reading: Reading) -> None:
    for n in range(KEPT + 50):
        put_point(run.store, Point(float(n), n, 0, {"drive/laps": float(n)}))
        if n % 500 == 0:
            reading.look()
    history = json.loads(reading.history())
    assert len(history["at"]) == KEPT
    assert history["steps"][-1] == KEPT + 49


def test_the_track_is_drawn_with_few_points_and_laps_on_it(run: LivingRun, reading: Reading) -> None:
    assert reading.track() is None
    sha256 = run.announce(Track.generate(9, 6000.0))
    put_trace(run.store, "best", trace(33.5, 31))
    assert seen(reading.look())["revisions"]["track"] == sha256
    outline = json.loads(reading.track() or b"")
    assert outline["length_m"] == pytest.approx(6000.0, abs=30)
    assert [len(outline[line]) for line in ("centre", "left", "right")] == [POINTS] * 3
    drawn = json.loads(reading.traces())["best"]
    assert drawn["time"] == 33.5
    assert len(drawn["x"]) == len(drawn["y"]) == len(drawn["metres"]) == 3
    assert [drawn["x"][0], drawn["y"][0]] == pytest.approx(outline["centre"][0], abs=0.1)


@pytest.mark.slow
def test_the_reference_lap_is_driven_once_by_a_child(run: LivingRun, reading: Reading) -> None:
    run.announce(TRACK)
    before = seen(reading.look())["revisions"]["traces"]
    wait_until(lambda: seen(reading.look())["laps"]["reference"] is not None, "it is driven", 60, every=0.1)
    look = seen(reading.look())
    assert look["revisions"]["traces"] != before
    reference = look["laps"]["reference"]
    assert sum(reference["sectors_s"]) == pytest.approx(reference["time_s"], abs=0.01)
    drawn = json.loads(reading.traces())["reference"]
    assert drawn["metres"][0] == 0.0
    assert drawn["metres"][-1] == pytest.approx(TRACK.length, abs=0.01)
    assert drawn["seconds"] == sorted(drawn["seconds"])
    assert drawn["seconds"][-1] == pytest.approx(reference["time_s"], abs=0.01)
    assert len(drawn["x"]) <= 600
    assert 8 < min(drawn["speed"]) < max(drawn["speed"]) < 100


def test_a_text_that_is_no_track_is_none(run: LivingRun, reading: Reading) -> None:
    with run.store.writing() as db:
        db.execute("INSERT INTO tracks (sha256, content) VALUES ('x', ?)", (b'{"centre":[[0,0]]}',))
    assert seen(reading.look())["revisions"]["track"] == ""
    assert reading.track() is None


def test_there_is_no_store_yet_and_then_there_is(tmp_path: Path) -> None:
    reading = Reading(CONFIG, tmp_path / "nothing")
    look = seen(reading.look())
    assert look["verdict"]["word"] == "waiting"
    assert "There is no store at" in look["verdict"]["reason"]
    assert (look["money"], look["bridges"], look["laps"]["best"]) == (None, [], None)
    assert json.loads(reading.history())["at"] == []
    (tmp_path / "nothing").mkdir()
    run = LivingRun(tmp_path / "nothing")
    run.progress(5_000, 4_500)
    assert seen(reading.look())["verdict"]["word"] == "learning"
    run.close()
    reading.close()


def test_a_store_that_is_made_anew_is_read_anew(tmp_path: Path) -> None:
    first = LivingRun(tmp_path)
    first.progress(5_000, 4_500)
    reading = Reading(CONFIG, tmp_path)
    assert seen(reading.look())["progress"]["updates"] == 4_500
    first.close()
    for file in tmp_path.glob("store.db*"):
        file.unlink()
    assert seen(reading.look())["verdict"]["title"] == "The store cannot be read yet"
    second = LivingRun(tmp_path)
    assert seen(reading.look())["progress"]["updates"] == 0
    second.close()
    reading.close()


@pytest.mark.parametrize(("version", "which"), [(4, "an older"), (99, "a newer")])
def test_a_store_of_another_version_is_told_in_a_sentence(tmp_path: Path, version: int, which: str) -> None:
    Store(tmp_path / "store.db").close()
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    reading = Reading(CONFIG, tmp_path)
    look = seen(reading.look())
    assert look["verdict"]["word"] == "waiting"
    assert f"was written by {which} version of this program" in look["verdict"]["reason"]
    reading.close()


def test_where_the_cars_are_is_told_only_when_it_is_news(run: LivingRun, reading: Reading) -> None:
    write_live(run.folder / LIVE, LiveFile(1000.0))
    assert reading.live() is None
    run.announce(TRACK)
    reading.look()
    assert reading.live() == {"at": 1000.0, "cars": [], "spots": []}
    assert reading.live() is None
    (run.folder / LIVE).write_bytes(b'{"at": "x"}')
    assert reading.live() is None
    assert reading.newest_live() == {"at": 1000.0, "cars": [], "spots": []}


def test_where_cars_left_the_track_is_told_of_every_machine_and_without_a_receiver(
    run: LivingRun, reading: Reading
) -> None:
    run.announce(TRACK)
    put_spots(run.store, "taken_up", [(10.0, 5.0)])
    put_spots(run.store, "heard", [(20.0, 5.0)])
    places = [TRACK.position_at(np.array([s]), np.array([5.0]))[0] for s in (10.0, 20.0, 30.0)]
    reading.look()
    stored = reading.newest_live()
    assert stored is not None
    assert stored["cars"] == []
    assert stored["spots"] == [pytest.approx(place, abs=0.01) for place in places[:2]]
    write_live(run.folder / LIVE, LiveFile(1000.0, (), ((30.0, 5.0),)))
    heard = reading.live()
    assert heard is not None
    assert heard["spots"] == [pytest.approx(place, abs=0.01) for place in (places[0], places[2])]


INSTANCE = {
    "budget_usd": 20.0,
    "max_hours": 48.0,
    "idle_minutes": 30.0,
    "name": "ac-training",
    "region": "eu-central-1",
    "group": "g",
    "schedule": "s",
    "run_id": "dashboard-test",
    "endpoint_mode": "eip",
    "accelerator": "gpu",
    "token_parameter": "/ac/token",
    "tls_parameter": "/ac/tls",
    "endpoint_parameter": "/ac/endpoint",
    "limits_parameter": "/ac/limits",
    "max_launches": 20,
    "volume_gb": 30,
    "hourly_extra_usd": 0.01,
    "fallback_price_usd_per_hour": 0.6,
    "guard_usd_per_hour": 1.2,
}


def test_money_is_told_as_the_guards_left_it(run: LivingRun, reading: Reading) -> None:
    assert seen(reading.look())["money"] is None
    (run.folder / INSTANCE_CONFIG).write_bytes(msgspec.json.encode(INSTANCE))
    own = Life(instance_id="i-1", hours=10.0, spend_usd=4.2)
    others = {"i-0": Life(instance_id="i-0", hours=34.0, spend_usd=14.2)}
    (run.folder / BUDGET).write_bytes(msgspec.json.encode(State(own=own, others=others, price=0.4)))
    one = Reading(CONFIG, run.folder, run.folder)
    run.progress(5_000, 4_500)
    look = seen(one.look())
    one.close()
    assert look["money"] == {
        "spent_usd": pytest.approx(18.4),
        "usd_per_hour": pytest.approx(0.41),
        "budget_usd": 20.0,
        "hours_left": pytest.approx(1.6 / 0.41),
        "launches": 2,
    }
    assert look["verdict"]["word"] == "money_low"


def test_of_very_many_bridges_those_that_are_there_are_shown(run: LivingRun, reading: Reading) -> None:
    gone = BridgeStanding("", "gone", "collect", "test", False, time.time() - 900)
    put_standings(run.store, [replace(gone, stream=f"{n:032x}") for n in range(900)])
    bridges = seen(reading.look())["bridges"]
    assert len(bridges) == 64
    assert bridges[0]["bridge"] == "pc-a"
    assert bridges[0]["connected"] is True


def test_a_run_that_names_its_track_knows_that_one_alone(run: LivingRun) -> None:
    other, own = run.announce(TRACK), run.announce(Track.generate(9, 1500.0))
    for chosen, known in ((None, ""), (own, own), (other, other)):
        config: RunConfig = run_config(environment={"kind": "racing", "track": chosen})
        reading = Reading(config, run.folder)
        assert seen(reading.look())["revisions"]["track"] == known
        reading.close()

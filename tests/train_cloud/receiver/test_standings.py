"""Whoever watches sees how each bridge stands, and where it drives: real sockets, the real store, another reader."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from racing.track import Track
from racing.track_text import track_hash, track_of, track_text
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import CONFIG, Client, ThreadedReceiver, hello
from tests.support.telemetry import stream_hello
from tests.support.waiting import wait_until
from train_cloud.bridge_table import KEPT, BridgeStanding, put_standings, standings
from train_cloud.history_table import beats
from train_cloud.open_store import open_store
from train_cloud.receiver.backup import Backup
from train_cloud.store import Store
from train_cloud.track_table import track, unsafe_tracks
from wire.messages import CloseCode, Error, ErrorCode, Report, TrackAnnouncement

__all__ = ["s3"]

HELLO = hello(CONFIG)
TEXT = track_text(Track.generate(7))
ON_TRACK = hello(CONFIG, track=track_hash(TEXT))


@contextmanager
def watcher(receiver: ThreadedReceiver) -> Iterator[Store]:
    """The store as a dashboard opens it."""
    with closing(Store(receiver.store.path, read_only=True)) as store:
        yield store


def only(store: Store) -> BridgeStanding:
    (standing,) = standings(store)
    return standing


@pytest.mark.slow
def test_a_bridge_is_seen_from_its_hello_to_its_end(receiver: ThreadedReceiver) -> None:
    with watcher(receiver) as store:
        assert standings(store) == []
        with receiver.client() as client:
            client.begin(HELLO)
            wait_until(lambda: bool(standings(store)), "the bridge is seen")
            first = only(store)
            assert (first.stream, first.bridge, first.role, first.software) == (HELLO.stream, "pc-a", "collect", "test")
            assert (first.connected, first.policy_version, first.round_trip) == (True, 0, None)
            assert abs(first.heard_at - time.time()) < 60
            for version in range(1, 40):
                client.say(Report(version, 20.0, 7, 3, 0.012, 0.05))
            wait_until(lambda: only(store).policy_version == 39, "the newest report is seen")
            told = only(store)
            assert (told.steps_per_second, told.unsent_steps, told.off_period_steps) == (20.0, 7, 3)
            assert (told.action_age, told.round_trip) == (0.012, 0.05)
        wait_until(lambda: not only(store).connected, "its end is seen")
        assert only(store).policy_version == 39


@pytest.mark.slow
@pytest.mark.parametrize(("real_time", "cars", "judges"), [(True, 1, True), (True, 4, False), (False, 1, False)])
def test_one_car_in_real_time_is_told_from_several_and_from_those_that_wait(
    receiver: ThreadedReceiver, real_time: bool, cars: int, judges: bool
) -> None:
    with watcher(receiver) as store, receiver.client() as client:
        client.begin(hello(CONFIG, real_time=real_time, cars=cars))
        wait_until(lambda: bool(standings(store)), "the bridge is seen")
        assert only(store).real_time == judges


def test_who_only_streams_judges_nothing(receiver: ThreadedReceiver) -> None:
    with watcher(receiver) as store, receiver.client() as client:
        client.begin(stream_hello(real_time=True, cars=1))
        wait_until(lambda: bool(standings(store)), "it is seen")
        assert not only(store).real_time


def test_a_stream_id_is_no_others_while_it_is_in_use(receiver: ThreadedReceiver) -> None:
    with watcher(receiver) as store, receiver.client() as client:
        client.begin(HELLO)
        with receiver.client() as other:
            other.say(stream_hello(HELLO.stream, "pc-b"))
            error = other.hear(Error)
            assert (error.code, other.close_code()) == (ErrorCode.DUPLICATE_BRIDGE, CloseCode.TRY_AGAIN_LATER)
            assert "'pc-a', which is here as 'collect'" in error.text
        client.say(Report(7, 20.0, 0, 0))
        wait_until(lambda: bool(standings(store)) and only(store).policy_version == 7, "it is told of as before")
        assert (only(store).role, only(store).connected) == ("collect", True)


@pytest.mark.slow
def test_a_bridge_that_comes_back_is_connected_again(receiver: ThreadedReceiver) -> None:
    with watcher(receiver) as store:
        for _ in range(2):
            with receiver.client() as client:
                client.begin(HELLO)
                wait_until(lambda: bool(standings(store)) and only(store).connected, "it is seen")
            wait_until(lambda: not only(store).connected, "its end is seen")


@pytest.mark.slow
def test_a_receiver_says_that_it_lives_and_how_it_is(tmp_path: Path) -> None:
    running = ThreadedReceiver(CONFIG, tmp_path)
    with closing(Store(tmp_path / "store.db", read_only=True)) as store:
        try:
            wait_until(lambda: "receiver" in beats(store), "the first sign of life")
            first = beats(store)["receiver"]
            assert first.state == "healthy"
            assert abs(first.at - time.time()) < 60
            wait_until(lambda: beats(store)["receiver"].at > first.at, "the next one")
            with running.store.writing() as db:
                db.execute("ALTER TABLE progress RENAME TO hidden")
            wait_until(lambda: beats(store)["receiver"].state == "the store cannot be read", "what is wrong is told")
            with running.store.writing() as db:
                db.execute("ALTER TABLE hidden RENAME TO progress")
            wait_until(lambda: beats(store)["receiver"].state == "healthy", "it is well again")
        finally:
            running.close()
        assert beats(store)["receiver"].state.startswith("draining")


@pytest.mark.slow
def test_a_store_that_takes_no_signs_of_life_costs_one_warning(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    wait_until(lambda: "receiver" in beats(receiver.store), "the first sign of life")
    with receiver.store.writing() as db:
        db.execute("CREATE TRIGGER no_beats BEFORE INSERT ON beats BEGIN SELECT RAISE(ABORT, 'no room'); END")
    wait_until(lambda: "stand cannot be written" in caplog.text, "it is said")
    with watcher(receiver) as store, receiver.client() as client:
        client.begin(HELLO)
        wait_until(lambda: bool(standings(store)) and only(store).connected, "bridges are served as before")
        client.say(Report(1, 20.0, 7, 3))
        wait_until(lambda: only(store).unsent_steps == 7, "and what they say is written")


def test_nobody_is_connected_to_a_receiver_that_begins(tmp_path: Path) -> None:
    first = ThreadedReceiver(CONFIG, tmp_path)
    with first.client() as client:
        client.begin(HELLO)
        wait_until(lambda: bool(standings(first.store)), "the bridge is seen")
    first.close()
    with closing(Store(tmp_path / "store.db")) as store, store.writing() as db:
        db.execute("UPDATE bridges SET connected = 1")
    second = ThreadedReceiver(CONFIG, tmp_path)
    try:
        wait_until(lambda: not only(second.store).connected, "what an earlier life wrote is corrected")
    finally:
        second.close()


def test_a_disk_that_takes_no_news_costs_only_news(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with closing(Store(receiver.store.path)) as other, other.writing():
                held.set()
                let_go.wait(120)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(120)
        client.say(Report(1, 20.0, 0, 0))
        time_before = client.round_trip()
        let_go.set()
        holder.join(120)
        assert time_before is not None
        wait_until(
            lambda: [found.policy_version for found in standings(receiver.store)] == [1],
            "the report is written once the disk takes it",
        )


def announced(client: Client, content: bytes) -> None:
    client.say(TrackAnnouncement(content))


def test_a_track_is_asked_for_once_and_kept(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        assert client.begin(ON_TRACK).wants_track
        announced(client, TEXT)
        wait_until(lambda: track(receiver.store, track_hash(TEXT)) is not None, "the track is kept")
    kept = track(receiver.store, track_hash(TEXT))
    assert kept == TEXT
    assert track_of(kept).length == Track.generate(7).length
    with receiver.client() as client:
        assert not client.begin(ON_TRACK).wants_track
    with receiver.client(text=True) as client:
        assert not client.begin(HELLO).wants_track


OTHER = track_text(Track.generate(8))
NO_TRACK = b'{"name":"none"}'


@pytest.mark.parametrize(
    ("named", "content"),
    [
        (track_hash(TEXT), OTHER),
        (None, TEXT),
        (hashlib.sha256(NO_TRACK).hexdigest(), NO_TRACK),
    ],
)
def test_another_track_than_hello_named_is_refused(
    receiver: ThreadedReceiver, named: str | None, content: bytes
) -> None:
    with receiver.client() as client:
        client.begin(hello(CONFIG, track=named))
        announced(client, content)
        assert client.hear(Error).code == ErrorCode.BAD_MESSAGE
        assert client.close_code() == CloseCode.INVALID_DATA
    assert unsafe_tracks(receiver.store) == []


def test_a_run_for_one_track_refuses_another_by_its_hash(tmp_path: Path) -> None:
    environment = msgspec.structs.replace(CONFIG.environment, track=track_hash(TEXT))
    running = ThreadedReceiver(msgspec.structs.replace(CONFIG, environment=environment), tmp_path)
    try:
        with running.client() as client:
            client.begin(ON_TRACK)
        with running.client() as client:
            client.say(hello(CONFIG, stream="b" * 32, bridge="other", track=track_hash(OTHER)))
            error = client.hear(Error)
            assert (error.code, client.close_code()) == (ErrorCode.WRONG_SIGNATURE, CloseCode.REFUSED)
            assert track_hash(TEXT) in error.text
            assert track_hash(OTHER) in error.text
    finally:
        running.close()


def test_a_track_goes_to_the_bucket_with_the_run(receiver: ThreadedReceiver, s3: MotoS3) -> None:
    with receiver.client() as client:
        client.begin(ON_TRACK)
        announced(client, TEXT)
        wait_until(lambda: track(receiver.store, track_hash(TEXT)) is not None, "the track is kept")
    objects = open_store(s3.bucket, "runs/track-test/")
    backup = Backup(receiver.store, objects, 0.1, lambda *_: None)
    backup.start()
    wait_until(lambda: not unsafe_tracks(receiver.store), "the track is in the bucket", 60)
    assert backup.flush(30)
    assert objects.get(f"tracks/{track_hash(TEXT)}.json")[0] == TEXT


def test_of_bridges_that_have_gone_the_newest_are_remembered(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store.db")) as store:
        gone = [BridgeStanding(f"{n:032x}", f"pc-{n}", "collect", "test", n == 3, float(n)) for n in range(KEPT + 10)]
        put_standings(store, gone)
        put_standings(store, [])
        kept = [standing.heard_at for standing in standings(store)]
    assert kept == [*range(KEPT + 9, 9, -1), 3.0]

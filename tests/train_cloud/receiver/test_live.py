"""Where the cars are, as the receiver hears it: real sockets, the real file, peers that lie and flood."""

import threading
from collections import deque
from pathlib import Path

import msgspec
import pytest

from racing.track import Track
from racing.track_text import track_hash, track_text
from tests.support.receivers import CONFIG, Client, ThreadedReceiver, hello
from tests.support.waiting import wait_until
from train_cloud.live_file import LiveCar, LiveFile, read_live
from train_cloud.receiver.live import MOST_PER_SECOND, LiveCars, fair_share
from train_cloud.receiver.plausible import WIDEST_GAP, shortest_lap_on
from train_cloud.spot_table import KEPT, all_spots, spots
from wire.frames import encode_frame
from wire.messages import Hello, Telemetry, TrackAnnouncement

TRACK = Track.generate(7, 1200.0)
TEXT = track_text(TRACK)
HONEST = hello(CONFIG, track=track_hash(TEXT))
OTHER = hello(CONFIG, stream="b" * 32, bridge="pc-b", track=track_hash(TEXT))
THERE = Telemetry(
    place=100.0,
    gap=-2.0,
    speed=30.0,
    gear=3,
    throttle=0.5,
    brake=0.0,
    steer=-0.25,
    laps=2,
    lap_time=12.5,
    delta=-0.125,
)


def at(place: float, *off_tracks: tuple[float, float]) -> Telemetry:
    return msgspec.structs.replace(THERE, place=place, off_tracks=off_tracks)


def shown(receiver: ThreadedReceiver) -> LiveFile:
    return read_live(receiver.store.path.parent / "live.json") or LiveFile(0.0)


def car(receiver: ThreadedReceiver, stream: str) -> LiveCar | None:
    return next((car for car in shown(receiver).bridges if car.stream == stream), None)


def place(receiver: ThreadedReceiver, stream: str) -> float | None:
    found = car(receiver, stream)
    return None if found is None else found.place


def begin(client: Client, first: Hello) -> None:
    welcome = client.begin(first)
    assert welcome.takes_telemetry
    if welcome.wants_track:
        client.say(TrackAnnouncement(TEXT))


def test_the_newest_of_each_bridge_is_shown_until_it_leaves(receiver: ThreadedReceiver) -> None:
    with receiver.client() as first:
        begin(first, HONEST)
        for metres in range(1, 11):
            first.say(at(metres))
        wait_until(lambda: place(receiver, HONEST.stream) == 10.0, "the newest place is shown")
        with receiver.client(text=True) as second:
            begin(second, OTHER)
            second.say(at(500.0, (7.0, 8.0)))
            wait_until(lambda: place(receiver, OTHER.stream) == 500.0, "the other one is shown")
            both = shown(receiver)
            assert {(car.bridge, car.place) for car in both.bridges} == {("pc-a", 10.0), ("pc-b", 500.0)}
            found = car(receiver, HONEST.stream)
            assert found is not None
            assert 0.0 <= both.at - found.at < 600.0
            whole = msgspec.structs.replace(found, place=100.0, at=0.0)
            assert whole == LiveCar("a" * 32, "pc-a", 0.0, 100.0, -2.0, 30.0, 3, 0.5, 0.0, -0.25, 2, 12.5, -0.125)
        wait_until(lambda: car(receiver, OTHER.stream) is None, "who has left is not shown any more")
        assert place(receiver, HONEST.stream) == 10.0
        assert shown(receiver).spots == ((7.0, 8.0),)
    wait_until(lambda: not shown(receiver).bridges, "nobody is left")


def test_a_file_of_an_earlier_life_goes(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_bytes(msgspec.json.encode(LiveFile(1.0, (), ((1.0, 2.0),))))
    running = ThreadedReceiver(CONFIG, tmp_path)
    try:
        wait_until(lambda: not (tmp_path / "live.json").exists(), "the file goes")
    finally:
        running.close()


def test_places_that_no_car_can_have_are_not_shown(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        begin(client, HONEST)
        client.say(at(TRACK.length + 1.0, (1.0, 1.0)))
        spots = (TRACK.length + 1.0, 0.0), (2.0, WIDEST_GAP + 1.0), (3.0, 3.0)
        client.say(msgspec.structs.replace(at(4.0, *spots), gap=-9000.0))
        wait_until(lambda: place(receiver, HONEST.stream) == 4.0, "what can be is shown")
        found = car(receiver, HONEST.stream)
        assert found is not None
        assert found.gap == -WIDEST_GAP
        assert shown(receiver).spots == ((3.0, 3.0),)


def test_without_a_track_nothing_is_asked_for_and_nothing_shown(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        assert not client.begin(hello(CONFIG)).takes_telemetry
        client.say(THERE)
        client.store(1)
        with receiver.client() as other:
            begin(other, OTHER)
            other.say(THERE)
            wait_until(lambda: place(receiver, OTHER.stream) == 100.0, "the other one is shown")
        assert car(receiver, HONEST.stream) is None


@pytest.mark.slow
def test_a_flood_costs_an_honest_bridge_no_experience_no_picture_and_no_room(receiver: ThreadedReceiver) -> None:
    over = threading.Event()

    def flood() -> None:
        with receiver.client() as hostile:
            begin(hostile, OTHER)
            frame = encode_frame(at(1.0, *[(1.0, 1.0)] * 8))
            while not over.is_set():
                hostile.blurt(frame)

    with receiver.client() as client:
        begin(client, HONEST)
        client.say(at(2.0, *[(2.0, float(gap)) for gap in range(8)]))
        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            wait_until(lambda: sum(spot[0] == 1.0 for spot in shown(receiver).spots) >= 150, "the flood has come")
            for number in range(1, 31):
                client.store(number)
                if number % 10 == 0:
                    client.say(at(10.0 + number))
            wait_until(lambda: place(receiver, HONEST.stream) == 40.0, "the honest car is shown")
            assert sum(spot[0] == 2.0 for spot in shown(receiver).spots) == 8
        finally:
            over.set()
            flooding.join(120)
    assert receiver.stored_numbers(HONEST.stream) == list(range(1, 31))


@pytest.mark.slow
def test_a_disk_that_takes_no_picture_costs_only_the_picture(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = receiver.store.path.parent / ".live.json"
    blocked.mkdir()
    with receiver.client() as client:
        begin(client, HONEST)
        client.say(THERE)
        wait_until(lambda: "where the cars are cannot be written" in caplog.text, "it is said")
        client.store(1, 2, 3)
        blocked.rmdir()
        wait_until(lambda: place(receiver, HONEST.stream) == 100.0, "it is written once the disk takes it", 60)
    assert receiver.stored_numbers(HONEST.stream) == [1, 2, 3]
    assert caplog.text.count("where the cars are cannot be written") == 1


def test_where_cars_left_the_track_is_kept_over_the_receivers_lives(tmp_path: Path) -> None:
    running = ThreadedReceiver(CONFIG, tmp_path)
    try:
        with running.client() as bridge:
            begin(bridge, HONEST)
            bridge.say(at(1.0, (30.0, 6.5), (40.0, -7.0)))
            wait_until(lambda: spots(running.store, "heard") == ((30.0, 6.5), (40.0, -7.0)), "the store has them")
    finally:
        running.close()
    again = ThreadedReceiver(CONFIG, tmp_path)
    try:
        with again.client() as bridge:
            begin(bridge, HONEST)
            bridge.say(at(2.0, (50.0, 8.0)))
            wait_until(lambda: len(shown(again).spots) == 3, "those of before are shown with the new one")
            assert shown(again).spots == ((30.0, 6.5), (40.0, -7.0), (50.0, 8.0))
            wait_until(lambda: all_spots(again.store) == shown(again).spots, "the store has all")
    finally:
        again.close()


def test_of_one_bridge_so_many_messages_a_second_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("train_cloud.receiver.live.time.monotonic", lambda: now[0])
    cars = LiveCars(tmp_path / "live.json")
    cars.joined(HONEST)
    for _ in range(1000):
        cars.told(HONEST.stream, at(1.0, (1.0, 1.0)), shortest_lap_on(TEXT))
    now[0] += 0.5
    for _ in range(1000):
        cars.told(HONEST.stream, at(1.0, (1.0, 1.0)), shortest_lap_on(TEXT))
    assert len(cars._shown().spots) == MOST_PER_SECOND + MOST_PER_SECOND // 2


def test_who_tells_much_leaves_room_for_who_tells_little() -> None:
    little = deque((float(n), 1.0, 0.0) for n in range(10))
    much, more = (deque((1000.0 + n, place, 0.0) for n in range(500)) for place in (2.0, 3.0))
    kept = fair_share([much, deque(), little, more], KEPT)
    assert [sum(spot[1] == place for spot in kept) for place in (1.0, 2.0, 3.0)] == [10, 245, 245]
    assert kept == sorted(kept)
    assert kept[-1][0] == 1499.0
    assert fair_share([much], KEPT) == list(much)
    assert fair_share([], KEPT) == []

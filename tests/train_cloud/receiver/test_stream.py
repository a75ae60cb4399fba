"""Bridges that stream: what they tell is shown, handed on, written and acknowledged; what is wrong harms nobody."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from racing.track import Track
from racing.track_text import track_hash, track_text
from tests.support.receivers import CONFIG, Client, ThreadedReceiver, hello
from tests.support.telemetry import frame, stream_hello, written_rows
from tests.support.waiting import wait_until
from train_cloud.live_file import LiveCar, read_live
from train_cloud.receiver.connection import RATE_SECONDS
from train_cloud.receiver.stream import MOST_FRAMES
from train_cloud.receiver.telemetry_files import Frames, TelemetryFiles
from train_cloud.run_config import RunConfig
from train_cloud.track_table import only_track
from wire.frames import encode_text
from wire.messages import (
    Ack,
    CloseCode,
    ControlChunk,
    Error,
    ErrorCode,
    Hello,
    Report,
    Telemetry,
    TelemetryBatch,
    TrackAnnouncement,
    Welcome,
)

TRACK = Track.generate(7, 1200.0)
TEXT = track_text(TRACK)
OTHER = track_text(Track.generate(8, 1200.0))


class Heard:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def joined(self, hello: Hello) -> None:
        self.said.append(("joined", hello.bridge))

    def heard(self, stream: str, frame: Telemetry) -> None:
        self.said.append((stream, frame.time))

    def left(self, stream: str) -> None:
        self.said.append(("left", stream))


@contextmanager
def receiving(
    folder: Path, writes: bool = False, show: Callable[[str], None] | None = None, config: RunConfig = CONFIG
) -> Iterator[ThreadedReceiver]:
    files = TelemetryFiles(folder / "telemetry", "jsonl", 2**24) if writes else None
    running = ThreadedReceiver(config, folder, telemetry=files, show=show)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def on_track(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    """The receiver of a run that has chosen TRACK."""
    environment = msgspec.structs.replace(CONFIG.environment, track=track_hash(TEXT))
    with receiving(tmp_path, config=msgspec.structs.replace(CONFIG, environment=environment)) as running:
        yield running


def car(receiver: ThreadedReceiver) -> LiveCar | None:
    live = read_live(receiver.store.path.parent / "live.json")
    return live.bridges[0] if live is not None and live.bridges else None


def batch(number: int, *indices: int, **changes: Any) -> TelemetryBatch:
    return TelemetryBatch(number, tuple(frame(index, **changes) for index in indices))


@pytest.mark.parametrize("text", [False, True])
def test_a_short_hello_is_welcome_and_the_newest_frame_is_shown(receiver: ThreadedReceiver, text: bool) -> None:
    with receiver.client(text) as client:
        welcome = client.begin(stream_hello())
        assert (welcome.stored_through, welcome.wants_track, welcome.takes_telemetry) == (0, False, True)
        client.say(frame(0))
        client.say(batch(1, 1, 2, 3, speed=55.0, valid=False))
        assert client.hear(Ack) == Ack(1, 1)
        wait_until(lambda: (shown := car(receiver)) is not None and shown.speed == 55.0, "the newest is shown")
        shown = car(receiver)
        assert shown is not None
        assert (shown.bridge, shown.place, shown.valid, shown.laps) == ("pc-a", None, False, 1)
    wait_until(lambda: car(receiver) is None, "it has left")


def test_the_runs_track_is_kept_and_places_on_it_are_shown(on_track: ThreadedReceiver) -> None:
    receiver = on_track
    with receiver.client() as client:
        assert client.begin(stream_hello(track=track_hash(TEXT))).wants_track
        client.say(TrackAnnouncement(TEXT))
        client.say(frame(0, place=100.0, gap=2.0))
        wait_until(lambda: (shown := car(receiver)) is not None and shown.place == 100.0, "the place is shown")
    with receiver.client() as client:
        assert not client.begin(stream_hello(track=track_hash(TEXT))).wants_track
        # As of frames that were kept on a longer track.
        client.say(batch(1, 0, place=TRACK.length + 1.0, gap=2.0, speed=7.0))
        assert client.hear(Ack) == Ack(1, 1)
        wait_until(lambda: (shown := car(receiver)) is not None and shown.speed == 7.0, "its figures are shown")
        shown = car(receiver)
        assert shown is not None
        assert shown.place is None


def test_a_track_that_is_not_the_runs_takes_nobodys_place_on_the_map(receiver: ThreadedReceiver) -> None:
    with receiver.client() as bridge, receiver.client() as stranger:
        assert bridge.begin(hello(CONFIG, stream="b" * 32, bridge="pc-b", track=track_hash(TEXT))).wants_track
        bridge.say(TrackAnnouncement(TEXT))
        wait_until(lambda: bool(receiver.store.rows("SELECT 1 FROM tracks")), "the run's track is known")
        assert not stranger.begin(stream_hello(track=track_hash(OTHER))).wants_track
        stranger.say(TrackAnnouncement(OTHER))
        stranger.say(frame(0, place=100.0, gap=0.0, speed=7.0))
        wait_until(lambda: (shown := car(receiver)) is not None and shown.speed == 7.0, "its figures are shown")
        shown = car(receiver)
        assert shown is not None
        assert shown.place is None
    assert receiver.store.rows("SELECT sha256 FROM tracks") == [(track_hash(TEXT),)]


def test_who_streams_before_anybody_drives_does_not_choose_the_runs_track(receiver: ThreadedReceiver) -> None:
    with receiver.client() as first, receiver.client() as bridge:
        assert not first.begin(stream_hello(track=track_hash(OTHER))).wants_track
        first.say(TrackAnnouncement(OTHER))
        first.say(frame(0, place=100.0, gap=0.0, speed=7.0))
        wait_until(lambda: (shown := car(receiver)) is not None and shown.speed == 7.0, "its figures are shown")
        bridge.begin(hello(CONFIG, stream="b" * 32, bridge="pc-b", track=track_hash(TEXT)))
        bridge.say(TrackAnnouncement(TEXT))
        wait_until(lambda: only_track(receiver.store) == TEXT, "the run's track is the one that is driven")


def test_others_hear_every_frame_once_and_can_answer(receiver: ThreadedReceiver) -> None:
    listener, stream, told = Heard(), "a" * 32, list[bool]()
    receiver.receiver.streams.subscribe(listener)
    chunk = ControlChunk(1, 2.0, 2.1, 0.05, ((0.0, 1.0),), 2.5, 3)
    with receiver.client() as client:
        client.begin(stream_hello())
        client.say(batch(1, 0, 1))
        # Sent again, as over another connection whose acknowledgement was lost.
        client.say(batch(1, 0, 1))
        client.say(frame(2))
        wait_until(lambda: (stream, 2.0) in listener.said, "all was heard")
        post = receiver.receiver.streams.post
        receiver.receiver._call(lambda: told.append(post(stream, chunk)))
        assert client.hear(ControlChunk) == chunk
        assert told == [True]
    wait_until(lambda: ("left", stream) in listener.said, "it has left")
    assert not receiver.receiver.streams.post(stream, chunk)
    assert listener.said == [("joined", "pc-a"), (stream, 0.0), (stream, 1.0), (stream, 2.0), ("left", stream)]


def test_lines_for_people_tell_speed_lap_and_validity_a_few_times_a_second(tmp_path: Path) -> None:
    lines: list[str] = []
    with receiving(tmp_path, show=lines.append) as receiver, receiver.client() as client:
        client.begin(stream_hello())
        for index in range(10):
            client.say(frame(index, speed=145.3 / 3.6))
        wait_until(lambda: bool(lines), "a line is shown")
        wait_until(lambda: lines[-1].startswith("[#10]"), "the newest is shown")
        assert lines[-1] == "[#10] 145.3 km/h  lap 2  valid"
        assert len(lines) < 5
        with receiver.client() as second:
            second.begin(stream_hello("b" * 32, "pc-\x1b[31mb"))
            second.say(frame(0, valid=False, speed=10.0))
            wait_until(lambda: "\x1b" not in lines[-1] and "36.0" in lines[-1], "the second's line")
            assert re.fullmatch(r"\[pc-\\x1b\[31mb #1\] 36\.0 km/h  lap 2  invalid", lines[-1])


def test_written_frames_are_acknowledged_when_they_are_on_the_disk_and_over_a_restart(tmp_path: Path) -> None:
    with receiving(tmp_path, writes=True) as receiver, receiver.client() as client:
        client.begin(stream_hello())
        client.say(frame(100))
        client.say(batch(1, 0, 1))
        client.say(batch(2, 2))
        client.hear(Ack, lambda ack: ack == Ack(2, 2))
        assert [row["time"] for row in written_rows(tmp_path / "telemetry")] == [100.0, 0.0, 1.0, 2.0]
    with receiving(tmp_path, writes=True) as receiver, receiver.client() as client:
        assert client.begin(stream_hello(last_number=3)).stored_through == 2
        for number in (1, 2, 3):
            client.say(batch(number, number))
        client.hear(Ack, lambda ack: ack.stored_through == 3)
    assert [row["time"] for row in written_rows(tmp_path / "telemetry")] == [100.0, 0.0, 1.0, 2.0, 3.0]


def test_a_gap_is_told_and_a_full_disk_too_and_both_mend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listener = Heard()
    with receiving(tmp_path, writes=True) as receiver, receiver.client() as client:
        receiver.receiver.streams.subscribe(listener)
        client.begin(stream_hello())
        client.say(batch(2, 5))
        gap = client.hear(Error)
        assert (gap.code, gap.text[-18:]) == (ErrorCode.OUT_OF_ORDER, "Send from batch 1.")
        file = tmp_path / "telemetry" / "telemetry-000001.jsonl"
        file.mkdir()
        client.say(batch(1, 0))
        client.say(batch(2, 1))
        full = client.hear(Error)
        assert full.code == ErrorCode.DISK_FULL
        assert "Send again from batch 1 in a while." in full.text
        for number in range(10):
            client.say(frame(100 + number))
            client.round_trip()
        assert caplog.text.count("telemetry cannot be written") == 1
        file.rmdir()
        client.say(batch(1, 0))
        client.say(batch(2, 1))
        client.hear(Ack, lambda ack: ack.stored_through == 2)
    assert [row["time"] for row in written_rows(tmp_path / "telemetry") if "batch" in row] == [0.0, 1.0]
    assert [said[1] for said in listener.said if said[0] == "a" * 32].count(0.0) == 1


class Broken(TelemetryFiles):
    """Has a defect."""

    def write(self, heard: Iterable[Frames]) -> None:  # noqa: ARG002 - of TelemetryFiles
        raise RuntimeError("a defect")


def test_a_defect_of_what_writes_ends_the_receiver_as_crashed(tmp_path: Path) -> None:
    running = ThreadedReceiver(CONFIG, tmp_path, telemetry=Broken(tmp_path / "telemetry", "jsonl", 2**24))
    try:
        with running.client() as client:
            client.begin(stream_hello())
            client.say(batch(1, 0))
            assert client.close_code() == CloseCode.GOING_AWAY
        assert running.receiver.crashed
    finally:
        running.close()


WRONG: dict[str, str | bytes] = {
    "NaN": msgspec.msgpack.encode(msgspec.to_builtins(frame(0)) | {"speed": float("nan")}),
    "NaN in a batch": msgspec.msgpack.encode(
        msgspec.to_builtins(batch(1, 0, 1, wheel_load=(1.0, float("nan"), 1.0, 1.0)))
    ),
    "a wrong type": json.dumps(json.loads(encode_text(frame(0))) | {"gear": "third"}),
    "no such field": json.dumps(json.loads(encode_text(frame(0))) | {"speed_kmh": 100.0}),
    "no frames": json.dumps({"type": "telemetry_batch", "number": 1, "frames": []}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_frame_gets_a_reason_reaches_nobody_and_harms_nobody(name: str, tmp_path: Path) -> None:
    listener = Heard()
    with receiving(tmp_path, writes=True) as receiver, receiver.client() as other:
        receiver.receiver.streams.subscribe(listener)
        other.begin(stream_hello("b" * 32, "pc-b"))
        with receiver.client(isinstance(WRONG[name], str)) as client:
            client.begin(stream_hello())
            client.socket.send(WRONG[name])
            assert client.close_code() == CloseCode.INVALID_DATA
            error = client.heard[-1]
            assert isinstance(error, Error)
            assert error.code == ErrorCode.BAD_MESSAGE
            assert error.text.startswith("The frame is not a valid message of this protocol: ")
        other.say(batch(1, 7))
        other.hear(Ack, lambda ack: ack.stored_through == 1)
    assert [row["time"] for row in written_rows(tmp_path / "telemetry")] == [7.0]
    assert [said for said in listener.said if said[0] == "a" * 32] == []


@pytest.mark.slow
def test_a_flood_is_slowed_down_and_others_are_heard(tmp_path: Path) -> None:
    with receiving(tmp_path, writes=True) as receiver, receiver.client() as flood, receiver.client() as other:
        flood.begin(stream_hello())
        other.begin(stream_hello("b" * 32, "pc-b"))
        greedy, began = TelemetryBatch(1, tuple(frame(index) for index in range(128))), time.monotonic()
        # Ten seconds' worth of frames may come at once; this is twice that.
        for number in range(1, 161):
            flood.say(msgspec.structs.replace(greedy, number=number))
        for number in range(1, 21):
            other.say(batch(number, number))
            other.hear(Ack, lambda ack, number=number: ack.stored_through >= number)  # type: ignore[misc]
            other.round_trip()
        rows = written_rows(tmp_path / "telemetry")
        taken, seconds = sum(row["bridge"] == "pc-a" for row in rows), time.monotonic() - began
    assert 0 < taken <= MOST_FRAMES * (RATE_SECONDS + seconds)
    assert [row["time"] for row in rows if row["bridge"] == "pc-b"] == [float(number) for number in range(1, 21)]


def test_a_bridge_that_streams_is_told_to_go_and_counts_as_one(tmp_path: Path) -> None:
    with receiving(tmp_path) as receiver:
        client = Client(receiver.pairing)
        client.begin(stream_hello())
        client.say(Report(0, 10.0, 0, 0))
        wait_until(lambda: len(receiver.receiver.streams) == 1, "it is known")
        with receiver.client() as second:
            second.say(stream_hello("b" * 32))
            assert second.close_code() == CloseCode.TRY_AGAIN_LATER
        with receiver.client() as again:
            assert isinstance(again.begin(stream_hello()), Welcome)
            assert client.close_code() == CloseCode.REPLACED
            receiver.stop.set()
            assert again.close_code() == CloseCode.GOING_AWAY

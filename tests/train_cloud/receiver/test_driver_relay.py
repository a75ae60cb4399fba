"""The driver's side of the receiver: who is driven, what reaches whom, and what a slow or dead driver costs."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect
from websockets.typing import Subprotocol

from experience.environment import racing
from racing.task import TaskConfig
from racing.track import Track
from racing.track_text import track_hash, track_text
from runtime.socket_path import short_path
from tests.support.cloud_drives import driven_run
from tests.support.receivers import Client, ThreadedReceiver, hello
from tests.support.telemetry import frame, stream_hello
from train_cloud.driver.sending import dialled
from train_cloud.driver_messages import Joined, Left, Say, Seen, ToDriver, encode, to_driver
from train_cloud.receiver import driver_relay, stream
from train_cloud.turns import MOST_FRAMES
from wire.messages import PROTOCOL, CloseCode, ControlChunk, DriverState, Error, Hello, Role

TEXT = track_text(Track.generate(7, 1200.0))
SIGNATURE = racing(TaskConfig()).signature
CHUNK = ControlChunk(1, 2.0, 2.1, 0.05, ((0.0, 1.0),), 2.5, 3)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging driver is soon let go."""
    monkeypatch.setattr(driver_relay, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(driver_relay, "HANG_SECONDS", 1.0)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    running = ThreadedReceiver(driven_run(tmp_path / "bucket"), tmp_path)
    yield running
    running.close()


@contextlib.contextmanager
def driver(receiver: ThreadedReceiver) -> Iterator[ClientConnection]:
    with socket.socket(socket.AF_UNIX) as calling:
        with short_path(receiver.store.path.parent / "driver.sock") as short:
            calling.connect(short)
        with unix_connect(
            sock=calling, subprotocols=[Subprotocol(PROTOCOL)], compression=None, close_timeout=1
        ) as connection:
            yield connection


@contextlib.contextmanager
def hanging(receiver: ThreadedReceiver) -> Iterator[None]:
    """A driver that says and hears nothing once its connection is there."""
    with asyncio.Runner() as loop:
        loop.run(dialled(receiver.store.path.parent / "driver.sock"))
        yield


def driven(letter: str = "a", **changes: object) -> Hello:
    return stream_hello(letter * 32, f"pc-{letter}", **{"signature": SIGNATURE, "track": track_hash(TEXT)} | changes)


def heard(connection: ClientConnection) -> ToDriver:
    told = connection.recv(timeout=60)
    assert isinstance(told, bytes)
    message: ToDriver = to_driver(told)
    return message


def test_frames_reach_the_driver_and_chunks_the_bridge_that_they_are_for_alone(receiver: ThreadedReceiver) -> None:
    with receiver.client() as one, receiver.client() as other, receiver.client() as plain:
        one.begin(driven("a"))
        assert "None is connected" in one.hear(DriverState).text
        plain.begin(stream_hello("c" * 32, "pc-c"))
        with driver(receiver) as drives:
            assert heard(drives) == Joined("a" * 32, "pc-a", track_hash(TEXT))
            other.begin(driven("b"))
            assert heard(drives) == Joined("b" * 32, "pc-b", track_hash(TEXT))
            plain.say(frame(0, episode=1))
            one.say(frame(1))
            one.say(frame(2, episode=1))
            told = heard(drives)
            assert isinstance(told, Seen)
            assert (told.stream, told.frame.time, told.lost) == ("a" * 32, 2.0, 0), "of a driven car, in an episode"
            for stream in ("c" * 32, "d" * 32, "a" * 32):
                drives.send(encode(Say(stream, CHUNK)))
            assert one.hear(ControlChunk) == CHUNK
            other.round_trip()
            plain.round_trip()
            assert not any(isinstance(said, ControlChunk) for said in (*other.heard, *plain.heard))
            one.socket.close()
            assert heard(drives) == Left("a" * 32)
        assert not other.hear(DriverState).ready
    assert not any(isinstance(said, DriverState) for said in plain.heard)


def test_a_driver_that_speaks_nonsense_is_let_go_and_the_next_one_drives(receiver: ThreadedReceiver) -> None:
    with receiver.client() as bridge:
        bridge.begin(driven())
        bridge.hear(DriverState)
        with driver(receiver) as broken:
            heard(broken)
            broken.send(b"\xc1")
            assert not bridge.hear(DriverState).ready
        with driver(receiver) as first, driver(receiver) as second:
            heard(second)
            second.send(encode(Say("a" * 32, DriverState(True))))
            assert bridge.hear(DriverState).ready
            heard(first)
            with pytest.raises(ConnectionClosed):
                first.recv(timeout=60)


@pytest.mark.usefixtures("impatience")
def test_a_driver_that_hangs_is_let_go_and_bridges_are_told(receiver: ThreadedReceiver) -> None:
    with receiver.client() as bridge:
        bridge.begin(driven())
        bridge.hear(DriverState)
        with hanging(receiver):
            assert "None is connected" in bridge.hear(DriverState).text


@pytest.mark.slow
def test_a_driver_that_does_not_read_gets_the_newest_frames_and_is_told_of_the_gap(
    receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "DRIVEN_FRAMES", 1e6)
    count = 8000
    wide = {"position": (1.0, 2.0), "velocity": (3.0, 4.0), "wheel_load": (1.0, 2.0, 3.0, 4.0), "episode": 1}

    async def slow(bridge: Client) -> list[Seen]:
        connection = await dialled(receiver.store.path.parent / "driver.sock")
        for number in range(count):
            bridge.say(frame(number, **wide))
        # All have been taken by the receiver, whose other work goes on.
        bridge.round_trip()
        seen: list[Seen] = []
        async for told in connection:
            assert isinstance(told, bytes)
            if isinstance(message := to_driver(told), Seen):
                seen.append(message)
                if message.frame.time == count - 1:
                    break
        await connection.close()
        return seen

    with receiver.client() as bridge:
        bridge.begin(driven())
        bridge.hear(DriverState)
        seen = asyncio.run(slow(bridge))
    lost = sum(one.lost for one in seen)
    assert lost > MOST_FRAMES
    assert len(seen) + lost == count
    times = [one.frame.time or 0.0 for one in seen]
    assert times == sorted(times)
    gap = next(place for place, one in enumerate(seen) if one.lost)
    # The first ones of all may be among the lost.
    assert times[gap] - (times[gap - 1] if gap else -1.0) == seen[gap].lost + 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"signature": "racing 0"},
            "another one than the bridge's. Start the bridge with `--rate 20`",
        ),
        ({"signature": SIGNATURE, "track": "0" * 64}, "This run is for the track"),
    ],
)
def test_who_cannot_be_driven_is_told_why(tmp_path: Path, changes: dict[str, str], says: str) -> None:
    environment = {"source": "driver", "track": track_hash(TEXT)}
    running = ThreadedReceiver(driven_run(tmp_path / "bucket", environment=environment), tmp_path)
    try:
        with running.client() as client:
            client.say(driven(**changes))
            assert client.close_code() == CloseCode.REFUSED
            assert isinstance(error := client.heard[-1], Error)
            assert says in error.text
    finally:
        running.close()


def test_a_driven_run_takes_what_others_collect_and_steps_no_environment(receiver: ThreadedReceiver) -> None:
    with receiver.client() as collects, receiver.client() as serves:
        collects.begin(hello(receiver.config))
        serves.say(hello(receiver.config, stream="b" * 32, bridge="pc-b", role=Role.SERVE_ENV))
        assert serves.close_code() == CloseCode.REFUSED
        assert isinstance(error := serves.heard[-1], Error)
        assert "Start `ac-bridge cloud-drive`" in error.text


def test_a_run_without_a_driver_says_so(tmp_path: Path) -> None:
    running = ThreadedReceiver(driven_run(tmp_path / "bucket", environment={}), tmp_path)
    try:
        with running.client() as client:
            client.say(driven())
            assert client.close_code() == CloseCode.REFUSED
            assert isinstance(error := client.heard[-1], Error)
            assert "This run has no driver in the cloud: start `ac-bridge drive`" in error.text
    finally:
        running.close()

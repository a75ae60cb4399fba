"""A driving bridge and who watches: real sockets, the real receiver, a simulated car, and what it costs on the wire."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bridge.driving.drive import Drive
from bridge.driving.garage import Settings, assembled_drive
from experience.codec import decode_batch
from experience.environment import racing
from racing.task import CHANNELS
from racing.track import parse_track
from runtime.exit_codes import ExitCode
from tests.support.policies import as_update, following_policy, weights_update
from tests.support.receivers import CONFIG, ThreadedReceiver
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from train_cloud.environment import task_config
from train_cloud.live_file import LiveCar, read_live
from wire.pairing import Pairing

TRACK = "seed:7:1200"
NAMES = [channel.name for channel in CHANNELS]
SIGNATURE = racing(task_config(CONFIG)).signature
WEIGHTS = as_update(following_policy(SIGNATURE, 1), 1)


@contextmanager
def driving(pairing: Pairing, folder: Path, cars: int) -> Iterator[Drive]:
    """A drive that goes on until the block ends, which then is stored whole."""
    settings = Settings(None, TRACK, cars, None, False, (), folder / "spool", 2**30, None, 1)
    stop, ended = threading.Event(), list[ExitCode]()
    with assembled_drive(pairing, settings, stop) as drive:
        thread = threading.Thread(target=lambda: ended.append(drive.run()))
        thread.start()
        try:
            yield drive
        finally:
            stop.set()
            thread.join(120)
    assert ended == [ExitCode.OK]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    running = ThreadedReceiver(CONFIG, tmp_path)
    yield running
    running.close()


def driven_rows(receiver: ThreadedReceiver) -> np.ndarray:
    """The first car's gap (m), speed (m/s), steer and gear in the experience that was stored, a row a step."""
    columns = [NAMES.index(name) for name in ("gap", "speed_forward", "speed_left", "steer_applied", "gear")]
    scales = np.array([CHANNELS[column].scale for column in columns])
    rows = []
    for row in receiver.store.read_batches(0, 10**6):
        batch = decode_batch(row.blob)
        first = np.repeat(batch.run_cars, batch.run_lengths) == 0
        rows.append(batch.next_observations()[first][:, columns] * scales)
    told = np.concatenate(rows)
    return np.column_stack([told[:, 0], np.hypot(told[:, 1], told[:, 2]), told[:, 3], told[:, 4]])


@pytest.mark.slow
def test_the_car_moves_in_the_receivers_file_as_in_the_experience(receiver: ThreadedReceiver, tmp_path: Path) -> None:
    receiver.store.put_weights(1, WEIGHTS.blob, WEIGHTS.sha256)
    live, seen = tmp_path / "live.json", dict[float, LiveCar]()

    def look() -> bool:
        found = read_live(live)
        if found is not None and found.bridges:
            (car,) = found.bridges
            seen[car.at] = car
        return len(seen) >= 8

    with driving(receiver.pairing, tmp_path, cars=2) as drive:
        wait_until(look, "the car is seen at eight places")
        wait_until(lambda: drive.link.all_stored, "what was seen is stored")
    wait_until(lambda: (found := read_live(live)) is not None and not found.bridges, "it is taken out at its end")
    length = parse_track(TRACK).length
    assert len({car.place for car in seen.values()}) == len(seen)
    assert all(
        car.place is not None and 0.0 <= car.place < length and 0.0 <= car.lap_time < 1000.0 for car in seen.values()
    )
    rows = driven_rows(receiver)
    for car in seen.values():
        told = np.array([car.gap, car.speed, car.steer, car.gear])
        assert np.abs(rows - told).max(axis=1).min() < 0.02, car


@pytest.mark.slow
def test_it_is_told_seldom_and_in_few_bytes_and_the_newest_after_a_cut(tmp_path: Path) -> None:
    with WireServer() as server:
        server.greeting, server.takes_telemetry = [weights_update(SIGNATURE, 1)], True
        began = time.monotonic()
        # So many cars leave the track all the time.
        with driving(server.pairing, tmp_path, cars=16):
            wait_until(lambda: sum(len(told.off_tracks) for _, told in server.telemetry) >= 60, "places were told")
            server.vanish()
            count, cut = len(server.telemetry), time.monotonic()
            server.listen()
            wait_until(lambda: len(server.telemetry) >= count + 2, "it goes on after a cut")
            (first, _), (second, _) = server.telemetry[count : count + 2]
            assert second - cut > 0.15
            assert first < second
        seconds, messages = time.monotonic() - began, len(server.telemetry)
        # One more for each of the two connections.
        assert messages <= 5 * seconds + 2
        # As they go over the socket: with a client's frame around each, of at most 8 bytes.
        assert server.telemetry_bytes + 8 * messages <= 1000 * seconds + 2 * 350
        print(f"{messages / seconds:.2f} messages/s, {(server.telemetry_bytes + 8 * messages) / seconds:.0f} bytes/s")

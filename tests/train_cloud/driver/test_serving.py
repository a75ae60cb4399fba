"""The driver beside a real receiver: who comes again, who goes, and who says too much."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cloud_drives import driven_run
from tests.support.receivers import Client, ThreadedReceiver
from tests.support.waiting import wait_until
from tests.train_cloud.receiver.test_driver_relay import TEXT, driven
from train_cloud.driver import serving
from train_cloud.driver.serving import Driver
from wire.messages import DriverState, TrackAnnouncement


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    """One with a driver, the reference driver, beside it."""
    running, stop = ThreadedReceiver(driven_run(tmp_path / "bucket", max_bridges=3), tmp_path), threading.Event()
    driver = Driver(running.config, tmp_path, reference=True)
    thread = threading.Thread(target=lambda: asyncio.run(driver.run(stop)))
    thread.start()
    yield running
    stop.set()
    thread.join(60)
    running.close()


def come(client: Client, letter: str = "a") -> None:
    """Be driven."""
    if client.begin(driven(letter)).wants_track:
        client.say(TrackAnnouncement(TEXT))
    client.hear(DriverState, lambda state: state.ready)


def test_a_bridge_whose_connection_replaces_its_own_is_told_that_it_is_driven(receiver: ThreadedReceiver) -> None:
    with receiver.client() as first, receiver.client() as second:
        come(first)
        come(second)


@pytest.mark.slow
def test_as_many_bridges_are_driven_as_the_run_has_room_for(receiver: ThreadedReceiver) -> None:
    with receiver.client() as first:
        come(first, "a")
        with receiver.client() as second:
            come(second, "b")
            wait_until(lambda: len(receiver.store.streams()) == 2, "the driver to send experience of both")
            with receiver.client() as third:
                come(third, "c")


@pytest.mark.slow
def test_of_cars_whose_bridges_are_gone_only_so_many_are_kept(
    receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_AWAY", 1)
    for letter in "abc":
        with receiver.client() as client:
            come(client, letter)
    wait_until(kept(1), "the cars of those that are gone longest to be let go")
    with receiver.client() as client:
        come(client, "c")
        assert kept(1)(), "it is the newest that was kept"


def kept(count: int) -> Callable[[], bool]:
    """Whether there are so many cars, of which each has a recorder."""
    return lambda: sum(thread.name == "recorder" for thread in threading.enumerate()) == count

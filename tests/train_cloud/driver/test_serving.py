"""The driver beside a real receiver: who comes again, who goes, and who says too much."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task
from tests.support.cloud_drives import driven_run
from tests.support.receivers import Client, ThreadedReceiver
from tests.support.waiting import wait_until
from tests.train_cloud.driver.test_seen_drive import TRACK, frame_of
from tests.train_cloud.receiver.test_driver_relay import TEXT, driven
from train_cloud.driver import serving
from train_cloud.driver.serving import Driver
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import TrainerProgress
from wire.messages import ControlChunk, DriverState, TrackAnnouncement


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
def test_of_a_run_that_is_done_nothing_is_collected_until_it_goes_on(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), Task(TRACK))
    receiver.store.put_progress(TrainerProgress(state=TrainerState.DONE))
    with receiver.client() as client:
        come(client)
        be_driven(client, driving, 1, 20)
    receiver.store.put_progress(TrainerProgress(state=TrainerState.TRAINING))
    wait_until(lambda: "the run goes on" in caplog.text, "it is noticed")
    with receiver.client() as client:
        come(client)
        be_driven(client, driving, 2, 30)
    wait_until(lambda: receiver.store.total_steps() == 30, "what was driven then to arrive")


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


def be_driven(client: Client, driving: VectorDriving, episode: int, steps: int) -> None:
    """Tell of so many steps, and hear the answer to the last."""
    driving.reset()
    client.say(frame_of(driving, episode=episode))
    for _ in range(steps):
        step = driving.step(np.array([[0.0, 0.3]], np.float32))
        client.say(frame_of(driving, episode=episode, action=tuple(step.action[0].tolist())))
    last = float(driving.state.time[0])
    client.hear(ControlChunk, lambda chunk: chunk.observed == last)


def kept(count: int) -> Callable[[], bool]:
    """Whether there are so many cars, of which each has a recorder."""
    return lambda: sum(thread.name == "recorder" for thread in threading.enumerate()) == count

"""Frames up, chunks down over a link of 50 ms each way: the car stays on the road, and all of it becomes experience."""

import heapq
from typing import Any

import msgspec
import numpy as np
import pytest

from bridge.stream.chunk_player import ChunkPlayer, Played, Playing
from experience.batches import NOBODY
from racing.driving import Step, VectorDriving
from racing.evaluation import reference_actions
from racing.link_model import LinkModel, SimulatedLink
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task
from racing.track import Track
from tests.train_cloud.driver.test_seen_drive import frame_of
from train_cloud.driver.cloud_driver import CloudDriver
from wire.messages import ControlChunk, Telemetry

TRACK = Track.generate(7, 1200.0)
TASK = Task(TRACK)
PERIOD = 0.05
ONE_WAY = LinkModel((0.05, 0.055, 0.06), 0.1, 0.2)
VERSION = 12


def over_the_wire(message: Any, kind: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=kind)


@pytest.mark.slow
def test_it_drives_a_car_over_a_link_and_learns_of_every_step_with_its_age() -> None:
    recorded: list[tuple[Float32Array, Step, int]] = []
    act = reference_actions(ReferenceDriver(TRACK))
    driver = CloudDriver(TASK, lambda: (act, VERSION), lambda *one: recorded.append(one))
    driving, player = VectorDriving(SimulatedCar(TRACK, start="line"), TASK), ChunkPlayer(PERIOD)
    up, down = SimulatedLink(ONE_WAY, 1), SimulatedLink(ONE_WAY, 2)
    under_way: list[tuple[float, int, ControlChunk]] = []
    driving.reset()
    frame, steps, played = frame_of(driving, episode=1), list[Step](), list[Played]()
    for number in range(200):
        now = float(driving.state.time[0])
        there = up.arrival(now)
        chunk = driver.heard(over_the_wire(frame, Telemetry))
        assert chunk is not None
        heapq.heappush(under_way, (down.arrival(there + 0.005), number, over_the_wire(chunk, ControlChunk)))
        while under_way[0][0] <= now:
            assert player.take(heapq.heappop(under_way)[2], now) is None
        played.append(player.action(now))
        step = driving.step(np.array([[played[-1].steer, played[-1].pedal]], np.float32))
        assert not step.episodes
        steps.append(step)
        told = {"action": tuple(step.action[0].tolist()), "chunk": played[-1].chunk, "action_age": played[-1].age}
        frame = frame_of(driving, episode=1, chunk_delay=player.delay, **told)
    driver.heard(frame)
    driver.finish("stopped")

    assert len(recorded) == 200
    for (_, made, version), step, one in zip(recorded, steps, played, strict=True):
        assert (made.action == step.action).all()
        assert (made.next_observation == step.next_observation).all()
        assert made.action_age == np.float32(one.age or 0.0)
        assert version == (NOBODY if one.playing is Playing.WATCHDOG else VERSION)
    ages = [one.age for one in played if one.age is not None]
    assert len(ages) > 180
    assert 0.1 <= np.median(ages) <= 0.2
    assert recorded[-1][1].truncated.all()


def test_nobody_acts_before_there_is_a_policy() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), TASK)
    driving.reset()
    driver = CloudDriver(TASK, lambda: None, lambda *_: None)
    assert driver.heard(frame_of(driving, episode=1)) is None


def test_a_frame_that_is_not_to_be_answered_is_learned_from_all_the_same() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), TASK)
    driving.reset()
    recorded: list[Step] = []
    act = reference_actions(ReferenceDriver(TRACK))
    driver = CloudDriver(TASK, lambda: (act, VERSION), lambda _, step, __: recorded.append(step))
    assert driver.heard(frame_of(driving, episode=1)) is not None
    step = driving.step(np.array([[0.0, 1.0]], np.float32))
    assert driver.heard(frame_of(driving, episode=1, action=tuple(step.action[0].tolist())), answer=False) is None
    driver.finish()
    assert len(recorded) == 1

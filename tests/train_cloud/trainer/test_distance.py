"""How far cars get in an episode is told from what they saw, over batches, and as a share of the lap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.spool import Spool
from experience.batches import Batch
from experience.codec import decode_batch
from experience.environment import racing
from experience.recorder import Recorder
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import parse_track
from racing.track_text import track_hash, track_text
from tests.support.experience import STREAM, made_up_batch
from train_cloud.store import Store
from train_cloud.track_table import put_track
from train_cloud.trainer import distance
from train_cloud.trainer.distance import Odometer, lap_metres

CARS = 3


def drive(spool: Spool, steps: int) -> tuple[list[Batch], list[float]]:
    """Cars that go straight on until they leave the track; the batches, and the metres of each ended episode."""
    layout, track = racing().spaces.layout, parse_track("seed:7:1200")
    driving = VectorDriving(SimulatedCar(track, count=CARS, seed=3), Task(track))
    recorder = Recorder(spool, layout, CARS, flush_steps=CARS * 16, chunks=64)
    observation, actions = driving.reset(), np.tile(np.array([[0.0, 0.4]], np.float32), (CARS, 1))
    driven, metres = np.zeros(CARS), []
    for _ in range(steps):
        driven += driving.state.velocity[:, 0] / TaskConfig().control_hz
        step = driving.step(actions)
        assert recorder.record(observation, step, 1)
        observation = step.observation
        for episode in step.episodes:
            metres.append(float(driven[episode.car]))
            driven[episode.car] = 0.0
    recorder.close()
    stored = filter(None, map(spool.read, range(1, spool.last_number + 1)))
    return [decode_batch(batch.blob, layout) for batch in stored], metres


def test_the_metres_of_an_episode_are_added_up_over_batches(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        batches, driven = drive(spool, 400)
    odometer = Odometer(TaskConfig().control_hz)
    read = [metres for batch in batches for metres in odometer.read(STREAM, batch)]
    assert len(batches) > 10
    assert len(read) == len(driven) > 3
    assert sorted(read) == pytest.approx(sorted(driven), rel=0.01)
    assert max(read) > 30.0


def test_what_bridges_name_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "_MOST_CARS", 5)
    odometer = Odometer(20.0)
    for number in range(20):
        assert len(odometer.read(f"{number:032x}", made_up_batch(number))) == 1
    assert len(odometer._under_way) == 5


def test_a_lap_is_as_long_as_the_one_track_or_the_chosen_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    first, second = (track_text(parse_track(name)) for name in ("seed:1:1200", "seed:2:2000"))
    assert lap_metres(store, None) is None
    put_track(store, track_hash(first), first)
    assert lap_metres(store, None) == pytest.approx(parse_track("seed:1:1200").length)
    put_track(store, track_hash(second), second)
    assert lap_metres(store, None) is None
    assert lap_metres(store, track_hash(second)) == pytest.approx(parse_track("seed:2:2000").length)
    put_track(store, "no track", b"no track")
    assert lap_metres(store, "no track") is None

"""The recorder takes steps without ever waiting and commits them, exactly, in order and in time."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from bridge.spool import Spool
from experience.batches import MAX_ACTION_AGE, most_steps
from experience.chunks import Chunk, assemble
from experience.codec import Batch, Column, Layout, decode_batch, encode_batch
from experience.recorder import Recorder
from tests.support.waiting import wait_until

Rows = npt.NDArray[Any]
LAYOUT = Layout(Column(3, step=2.0**-12), Column(2, step=2.0**-15))


@dataclass
class ScriptedStep:
    """The parts of a racing.driving.Step that are recorded, with a few exact numbers."""

    observation: Rows
    next_observation: Rows
    action: Rows
    reward: Rows
    terminated: Rows
    truncated: Rows
    action_age: Rows
    off_period: bool = False
    laps: tuple[Any, ...] = ()
    episodes: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Lap:
    car: int
    time: float
    clean: bool


@dataclass(frozen=True)
class End:
    car: int
    steps: int
    total_reward: float
    reason: str


def drive(
    cars: int, steps: int, ends: Callable[[int, int], bool] = lambda _k, _car: False
) -> Iterator[tuple[Any, Any]]:
    """(observation, step) pairs; every number is different and on its grid."""
    counter = iter(range(1, 10**9))

    def rows() -> Rows:
        values = [[next(counter) % 30000 for _ in range(3)] for _ in range(cars)]
        return np.array(values, np.float32) * np.float32(2.0**-12)

    observation = rows()
    for k in range(steps):
        final = rows()
        ended = np.array([ends(k, car) for car in range(cars)])
        following = np.where(ended[:, None], rows(), final)
        yield (
            observation,
            ScriptedStep(
                following,
                final,
                np.full((cars, 2), (k % 1000) * 2.0**-15, np.float32),
                np.arange(cars, dtype=np.float32) + k,
                ended,
                np.zeros(cars, bool),
                np.full(cars, 0.001, np.float32),
            ),
        )
        observation = following


def stored(spool: Spool, layout: Layout = LAYOUT) -> list[Batch]:
    found = [spool.read(number) for number in range(1, spool.last_number + 1)]
    return [decode_batch(batch.blob, layout) for batch in found if batch is not None]


def rows_of_car(batches: list[Batch], car: int) -> list[tuple[Any, ...]]:
    """(first step's index, observation, next observation, reward) of each step of one car, in stored order."""
    rows = []
    for batch in batches:
        current, following = batch.current_observations(), batch.next_observations()
        at = 0
        for length, owner, first in zip(batch.run_lengths, batch.run_cars, batch.run_first_steps, strict=True):
            if owner == car:
                rows += [
                    (first + i, current[at + i].tobytes(), following[at + i].tobytes(), batch.rewards[at + i])
                    for i in range(length)
                ]
            at += length
    return rows


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as spool:
        yield spool


def test_every_step_of_every_car_is_stored_exactly_and_in_order(spool: Spool) -> None:
    def ends(k: int, car: int) -> bool:
        return (k + car) % 7 == 6

    recorder = Recorder(spool, LAYOUT, 3, flush_steps=30)
    script = list(drive(3, 95, ends))
    for observation, step in script:
        while not recorder.ready():
            time.sleep(0.001)
        assert recorder.record(observation, step, 5)
    recorder.close()
    batches = stored(spool)
    for car in range(3):
        expected = [
            (k, observation[car].tobytes(), step.next_observation[car].tobytes(), step.reward[car])
            for k, (observation, step) in enumerate(script)
        ]
        assert rows_of_car(batches, car) == expected
    assert spool.total_steps == recorder.committed_steps == 3 * 95
    assert all((batch.policy_versions == 5).all() for batch in batches)


def test_an_observation_between_two_steps_is_stored_once(spool: Spool) -> None:
    recorder = Recorder(spool, LAYOUT, 2)
    for observation, step in drive(2, 50):
        recorder.record(observation, step, 1)
    recorder.close()
    (batch,) = stored(spool)
    assert list(batch.run_lengths) == [50, 50]
    assert len(batch.observations) == 102


def test_what_is_stored_does_not_depend_on_which_arrays_are_handed_on() -> None:
    script = list(drive(2, 10, lambda k, car: (k, car) == (4, 1)))
    copied, handed_on = Chunk(10, 2, LAYOUT), Chunk(10, 2, LAYOUT)
    led_to = script[0][0]
    for observation, step in script:
        copied.add(observation.copy(), step, 1)
        handed_on.add(led_to if np.array_equal(observation, led_to) else observation, step, 1)
        led_to = step.next_observation
    assert list(handed_on.apart) == [4], "only where the episode ended"
    assert list(copied.apart) == list(range(9))
    batches = [assemble(chunk, LAYOUT, lambda _car: 0) for chunk in (copied, handed_on)]
    assert batches[0] is not None
    assert batches[1] is not None
    assert list(batches[0].run_lengths) == [10, 5, 5]
    assert encode_batch(batches[0]) == encode_batch(batches[1])


def test_a_chunk_that_was_used_before_holds_nothing_of_that() -> None:
    chunk = Chunk(10, 1, LAYOUT)
    for observation, step in drive(1, 10, lambda k, _car: k == 3):
        chunk.add(observation, step, 1)
    chunk.clear()
    assert assemble(chunk, LAYOUT, lambda _car: 0) is None
    ((observation, step),) = drive(1, 1)
    chunk.add(observation, step, 1)
    batch = assemble(chunk, LAYOUT, lambda _car: 0)
    assert batch is not None
    assert list(batch.run_lengths) == [1]
    assert batch.next_observations().tobytes() == step.next_observation.tobytes()


def test_steps_are_committed_in_time_without_more_of_them(spool: Spool) -> None:
    committed = threading.Event()
    recorder = Recorder(spool, LAYOUT, 1, flush_seconds=0.1, on_commit=committed.set)
    (observation, step), *_ = drive(1, 1)
    recorder.record(observation, step, 1)
    assert committed.wait(120)
    assert spool.total_steps == 1
    recorder.close()


def test_steps_are_committed_at_once_when_nobody_wants_to_wait_for_more(spool: Spool) -> None:
    committed = threading.Event()
    recorder = Recorder(spool, LAYOUT, 1, flush_seconds=600.0, on_commit=committed.set)
    recorder.flush()
    for observation, step in drive(1, 2):
        recorder.record(observation, step, 1)
        recorder.flush()
        assert committed.wait(120)
        committed.clear()
        recorder.flush()
    assert spool.total_steps == 2
    recorder.close()


def test_laps_and_episodes_point_at_their_steps(spool: Spool) -> None:
    recorder = Recorder(spool, LAYOUT, 2)
    for k, (observation, step) in enumerate(drive(2, 10, lambda k, car: (k, car) == (4, 1))):
        if k == 4:
            step = replace(step, episodes=(End(1, 5, 7.5, "crash"),), laps=(Lap(0, 99.5, True),))
        recorder.record(observation, step, 1)
    recorder.close()
    (batch,) = stored(spool)
    (lap,), (episode,) = batch.laps, batch.episodes
    assert (batch.rewards[lap.row], lap.time, lap.clean) == (4.0, 99.5, True)
    assert (batch.rewards[episode.row], episode.steps, episode.reason) == (5.0, 5, "crash")
    assert batch.terminated[episode.row]


def test_a_step_that_is_not_finite_or_not_sane_is_left_out_and_splits_the_run(spool: Spool) -> None:
    recorder = Recorder(spool, LAYOUT, 1)
    for k, (observation, step) in enumerate(drive(1, 10)):
        if k == 3:
            step.reward[:] = np.nan
        if k == 7:
            observation = np.full_like(observation, np.inf)
        if k == 9:
            step.reward[:] = 1e25
        recorder.record(observation, step, 1)
    recorder.close()
    (batch,) = stored(spool)
    assert list(batch.run_lengths) == [3, 3, 1]
    assert list(batch.run_first_steps) == [0, 3, 6]
    assert recorder.lost_steps == 3


def test_the_age_of_an_action_that_outlasted_a_sleep_of_the_pc_is_within_what_a_batch_holds(spool: Spool) -> None:
    recorder = Recorder(spool, LAYOUT, 1)
    for (observation, step), age in zip(drive(1, 4), (1e6, np.inf, -1.0, 0.5), strict=True):
        step.action_age[:] = age
        recorder.record(observation, step, 1)
    recorder.close()
    (batch,) = stored(spool)
    assert batch.action_ages.tolist() == [MAX_ACTION_AGE, 0.0, 0.0, 0.5]


def test_a_gap_in_what_is_recorded_begins_a_new_run(spool: Spool) -> None:
    recorder = Recorder(spool, LAYOUT, 1)
    for k, (observation, step) in enumerate(drive(1, 10)):
        if k != 5:
            recorder.record(observation, step, 1)
    recorder.close()
    (batch,) = stored(spool)
    assert list(batch.run_lengths) == [5, 4]


def test_a_batch_of_images_holds_as_many_steps_as_there_is_room_for(spool: Spool) -> None:
    images, steps, cars = Layout(Column(96 * 96 * 3, "uint8"), Column(3)), 60, 3
    recorder = Recorder(spool, images, cars)
    rows = np.random.default_rng(1).integers(0, 256, (steps + 1, cars, 96, 96, 3), np.uint8)
    for before, after, (_, step) in zip(rows, rows[1:], drive(cars, steps), strict=False):
        wait_until(recorder.ready, "there is room")
        recorder.record(before, replace(step, next_observation=after, action=np.zeros((cars, 3), np.float32)), 1)
    recorder.close()
    assert recorder.lost_steps == 0
    batches = stored(spool, images)
    assert sum(batch.steps for batch in batches) == steps * cars
    assert all(batch.steps <= most_steps(images) for batch in batches)


def test_a_full_spool_never_makes_the_control_loop_wait(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=1) as spool:
        recorder = Recorder(spool, LAYOUT, 1, flush_steps=10, chunks=2)
        took: list[float] = []
        for observation, step in drive(1, 200):
            began = time.perf_counter()
            recorder.record(observation, step, 1)
            took.append(time.perf_counter() - began)
        assert recorder.lost_steps >= 170
        assert not recorder.ready()
        # Nearly each of them found it full, so that a wait would be in the middle one; no busy machine is.
        assert statistics.median(took) < 0.01
        recorder.close(timeout=0.1)
        assert recorder.committed_steps == 0


def test_collecting_resumes_when_there_is_room_again(tmp_path: Path) -> None:
    with Spool(tmp_path, limit_bytes=10**6) as spool:
        recorder = Recorder(spool, LAYOUT, 1, flush_steps=10, chunks=2)
        spool.limit_bytes = 1
        script = list(drive(1, 60))
        for observation, step in script[:50]:
            recorder.record(observation, step, 1)
        before = recorder.collected_steps
        assert before < 50
        spool.limit_bytes = 10**6
        wait_until(recorder.ready, "there is room again")
        for observation, step in script[50:]:
            recorder.record(observation, step, 1)
        recorder.close()
        assert spool.total_steps == recorder.committed_steps == before + 10
        rows = rows_of_car(stored(spool), 0)
        assert [row[0] for row in rows] == list(range(before + 10))


def test_the_counters_of_the_cars_go_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with Spool(tmp_path) as spool:
            recorder = Recorder(spool, LAYOUT, 2)
            for observation, step in drive(2, 5):
                recorder.record(observation, step, 1)
            recorder.close()
    with Spool(tmp_path) as spool:
        assert [row[0] for row in rows_of_car(stored(spool), 1)] == list(range(10))

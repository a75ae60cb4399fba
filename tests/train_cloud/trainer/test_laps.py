"""What cars drove is told from what they saw, over batches: metres of episodes, and laps by sectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.spool import Spool, SpooledBatch
from experience.batches import MAX_LAP_SECONDS, Batch, LapRecord
from experience.codec import decode_batch
from experience.environment import racing
from experience.recorder import Recorder
from racing.car import BoolArray
from racing.driving import VectorDriving
from racing.evaluation import Actor, policy_actions, reference_actions
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import OBSERVATION_BOUND, OBSERVATION_STEP, Task, TaskConfig
from racing.track import Track, parse_track
from racing.track_text import track_hash, track_text
from tests.support.driven_laps import VERSION, Stumbling, TrueLap, drive_laps
from tests.support.experience import STREAM, made_up_batch
from tests.support.policies import following_policy
from tests.support.real_data import real_data
from train_cloud.lap_table import SAMPLES, LapTrace
from train_cloud.store import Store
from train_cloud.track_table import put_track
from train_cloud.trainer import laps
from train_cloud.trainer.lap_trace import Course
from train_cloud.trainer.laps import DrivenLap, Drives, LapTimes, lap_metres

TRACK = parse_track("seed:7:1200")
SHORT = parse_track("seed:7:600")

CARS = 3


class Watched(SimulatedCar):
    """Remembers where its cars were when drives ended."""

    def reset(self, which: BoolArray) -> None:
        self.ended_at = self.read().position
        super().reset(which)


def drive(spool: Spool, steps: int) -> tuple[list[Batch], list[float]]:
    """Cars that go straight on until they leave the track; the batches, and the metres of each ended episode."""
    layout, car = racing().spaces.layout, Watched(TRACK, count=CARS, seed=3)
    driving = VectorDriving(car, Task(TRACK))
    recorder = Recorder(spool, layout, CARS, flush_steps=CARS * 16, chunks=64)
    observation, actions = driving.reset(), np.tile(np.array([[0.0, 0.4]], np.float32), (CARS, 1))
    driven, metres, before = np.zeros(CARS), [], TRACK.project(driving.state.position).s
    for _ in range(steps):
        step = driving.step(actions)
        ended, now = step.terminated | step.truncated, driving.state.position
        reached = TRACK.project(np.where(ended[:, None], car.ended_at, now)).s
        driven += (reached - before + TRACK.length / 2) % TRACK.length - TRACK.length / 2
        before = TRACK.project(now).s
        assert recorder.record(observation, step, 1)
        observation = step.observation
        for episode in step.episodes:
            metres.append(float(driven[episode.car]))
            driven[episode.car] = 0.0
    recorder.close()
    stored = filter(None, map(spool.read, range(1, spool.last_number + 1)))
    return [decode_batch(batch.blob, layout) for batch in stored], metres


@pytest.mark.slow
def test_the_metres_of_an_episode_are_added_up_over_batches(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        batches, driven = drive(spool, 400)
    drives = Drives(TaskConfig().control_hz)
    read = [metres for batch in batches for metres in drives.read(STREAM, batch)[0]]
    assert len(batches) > 10
    assert len(read) == len(driven) > 3
    assert sorted(read) == pytest.approx(sorted(driven), rel=0.02)
    assert max(read) > 30.0
    shown = [replace(batch, policy_versions=np.zeros_like(batch.policy_versions)) for batch in batches]
    assert [metres for batch in shown for metres in drives.read(STREAM, batch)[0]] == [], "these tell of no policy"


def reference(track: Track) -> Actor:
    return reference_actions(ReferenceDriver(track))


def exploring(actor: Actor) -> Actor:
    """The same with noise, as an exploring policy drives."""
    rng = np.random.default_rng(1)
    return lambda observation, state: actor(observation, state) + rng.normal(0.0, [0.06, 0.2]).astype(np.float32)


def decoded(batches: Sequence[SpooledBatch]) -> list[Batch]:
    return [decode_batch(batch.blob, racing().spaces.layout) for batch in batches]


def read_all(batches: Sequence[Batch], drives: Drives | None = None) -> list[DrivenLap]:
    drives = drives or Drives(TaskConfig().control_hz)
    return [lap for batch in batches for lap in drives.read(STREAM, batch)[1]]


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Batch], list[TrueLap]]:
    """Three laps of the reference driver in batches of 100 steps, all by version 7."""
    batches, true = drive_laps(tmp_path_factory.mktemp("driven"), SHORT, reference(SHORT), 3)
    return decoded(batches), true


def check(told: Sequence[DrivenLap], true: Sequence[TrueLap], within: float = 0.05) -> None:
    assert len(told) == len(true)
    for lap, truth in zip(told, true, strict=True):
        assert sum(lap.sectors) == pytest.approx(truth.lap.time, abs=0.002)
        assert lap.sectors == pytest.approx(truth.sectors, abs=within)


@pytest.mark.slow
def test_sectors_are_what_the_simulator_knows(driven: tuple[list[Batch], list[TrueLap]]) -> None:
    batches, true = driven
    told = read_all(batches)
    check(told, true)
    assert [(lap.human, lap.version) for lap in told] == [(False, VERSION)] * 3


def compared(trace: LapTrace, truth: TrueLap, track: Track) -> dict[str, float]:
    """How far each column of the trace is from the truth at worst, and the pedals by how much on average."""
    where = np.array(trace.metres)
    assert where[[0, -1]] == pytest.approx([0.0, track.length], abs=0.01)
    assert np.allclose(np.diff(where), track.length / (len(where) - 1), atol=0.02)
    off = {}
    for name in ("seconds", "gap", "speed", "steer", "pedals"):
        true = np.interp(where, truth.metres, getattr(truth, name))
        off[name] = np.abs(np.array(getattr(trace, name)) - true)
    gears = truth.gear[np.clip(np.searchsorted(truth.metres, where) - 1, 0, None)]
    off["gear"] = np.abs(np.array(trace.gear) - gears) > 0
    worst = {name: float(values.max()) for name, values in off.items()}
    return worst | {name: float(off[name].mean()) for name in ("steer", "pedals", "gear")}


def test_the_course_of_a_lap_is_what_the_simulator_knows(driven: tuple[list[Batch], list[TrueLap]]) -> None:
    batches, true = driven
    for lap, truth in zip(read_all(batches), true, strict=True):
        trace = lap.course.trace(lap.version, 4000, SHORT.length)
        assert (trace.version, trace.steps, trace.time) == (VERSION, 4000, truth.lap.time)
        assert [trace.seconds[0], trace.seconds[-1]] == pytest.approx([0.0, truth.lap.time], abs=0.001)
        off = compared(trace, truth, SHORT)
        # The reference driver moves aside by up to 9 m/s here, and when in a period it passes the line is not told.
        assert off["seconds"] < 0.035
        assert off["gap"] < 0.45
        assert off["speed"] < 0.4
        assert off["steer"] < 0.01
        assert off["pedals"] < 0.05
        assert off["gear"] < 0.02
        unknown = lap.course.trace(lap.version, 4000, None)
        assert unknown.metres[-1] == pytest.approx(SHORT.length, rel=0.02), "told by speeds alone"
        assert replace_metres(unknown, trace.metres) == trace


def replace_metres(trace: LapTrace, metres: list[float]) -> LapTrace:
    return msgspec.structs.replace(trace, metres=metres)


def test_a_long_laps_course_is_told_at_as_many_places_as_are_kept() -> None:
    along, seconds = np.full(4000, 50.0), np.full(4000, 0.05)
    seen = np.tile(np.array([[1.5], [50.0], [5.0], [-0.25], [0.5]], np.float32), 4000)
    trace = Course(along, seconds, seen, start=10.0, time=180.0).trace(3, 9000, 9001.0)
    assert len(trace.seconds) == SAMPLES
    assert trace.metres == pytest.approx(np.linspace(0.0, 9001.0, SAMPLES), abs=0.01)
    assert trace.seconds == pytest.approx(np.linspace(0.0, 180.0, SAMPLES), abs=0.001)
    constant = (trace.gap, trace.speed, trace.gear, trace.steer, trace.pedals)
    assert [set(values) for values in constant] == [{1.5}, {50.0}, {5.0}, {-0.25}, {0.5}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("track", "driver", "laps"),
    [
        ("seed:7:1200", "reference", 3),
        ("seed:7:1200", "exploring", 3),
        ("seed:7:1200", "policy", 1),
        ("ks_red_bull_ring-layout_gp", "reference", 2),
        ("ks_red_bull_ring-layout_gp", "policy", 1),
    ],
)
def test_sectors_are_right_whoever_drives_and_on_a_real_circuit(
    tmp_path: Path, track: str, driver: str, laps: int
) -> None:
    on = parse_track(track) if track.startswith("seed") else Track.from_csv(real_data(f"tracks/{track}.csv"))
    if driver == "policy":
        actor = policy_actions(Policy.from_bytes(following_policy("s", VERSION), "s"))
    else:
        actor = exploring(reference(on)) if driver == "exploring" else reference(on)
    batches, true = drive_laps(tmp_path, on, actor, laps)
    clean = [lap for lap in true if lap.lap.clean]
    assert clean
    check(read_all(decoded(batches)), clean)


def by_versions(batches: Sequence[Batch], version: Callable[[float], int]) -> list[Batch]:
    """The same, each step by the version at the time, s, at which it was driven."""
    versioned, steps = [], 0
    for batch in batches:
        versions = [version((steps + step) / TaskConfig().control_hz) for step in range(batch.steps)]
        versioned.append(replace(batch, policy_versions=np.array(versions, np.uint32)))
        steps += batch.steps
    return versioned


def test_a_lap_is_the_humans_the_policys_or_nobodys(driven: tuple[list[Batch], list[TrueLap]]) -> None:
    batches, (first, second, third) = driven
    begins = first.lap.time + 0.5 * second.lap.time
    human, policy_s = read_all(by_versions(batches, lambda at: 0 if at < begins else 7))
    check([human, policy_s], [first, third])
    assert (human.human, policy_s.human) == (True, False)
    assert len(read_all(by_versions(batches, lambda at: 7 if at < begins or at > begins + 0.1 else 0))) == 2
    times = LapTimes()
    times.add([human, policy_s, replace(policy_s, sectors=(20.0, 20.0, 20.0))])
    assert (times.human, times.policy, times.last) == (human.sectors, policy_s.sectors, (20.0, 20.0, 20.0))


def test_a_lap_with_a_missing_step_is_not_told_and_the_next_one_is(
    driven: tuple[list[Batch], list[TrueLap]],
) -> None:
    batches, (first, _, third) = driven
    middle = int((first.lap.time + 0.5 * third.lap.time) * TaskConfig().control_hz) // 100
    check(read_all(batches[:middle] + batches[middle + 1 :]), [first, third])


def test_cars_of_several_streams_are_told_apart(driven: tuple[list[Batch], list[TrueLap]]) -> None:
    batches, _ = driven
    drives, told = Drives(TaskConfig().control_hz), []
    other = [replace(batch, run_cars=batch.run_cars + 1) for batch in batches]
    for now, later, of_car in zip(
        [*batches, *batches[:3]], [*batches[-3:], *batches], [*other, *other[:3]], strict=True
    ):
        told += [*drives.read("b" * 32, of_car)[1], *drives.read("a" * 32, now)[1], *drives.read("c" * 32, later)[1]]
        drives.read("b" * 32, made_up_batch(1, run_lengths=(20,)))
    assert len(told) == 9


@pytest.mark.slow
def test_steps_off_the_period_take_what_is_left_of_the_laps_time(tmp_path: Path) -> None:
    batches, true = drive_laps(tmp_path, TRACK, reference(TRACK), 3, Stumbling())
    assert sum(int(batch.off_period.sum()) for batch in decoded(batches)) > 10
    check(read_all(decoded(batches))[1:], true[1:])


def test_what_bridges_claim_ends_in_finite_times_or_in_none() -> None:
    lowest, highest = -OBSERVATION_BOUND, OBSERVATION_BOUND - OBSERVATION_STEP
    rng, drives, times = np.random.default_rng(0), Drives(TaskConfig().control_hz), LapTimes()
    for number in range(200):
        batch = made_up_batch(number, run_lengths=(300,), late_share=float(rng.choice([0.0, 0.01, 1.0])))
        extreme = rng.choice([lowest, 0.0, highest], batch.observations.shape).astype(np.float32)
        claimed = [1e-300, 1e-3, 0.05, 1.0, 14.9, 15.0, 100.0, MAX_LAP_SECONDS]
        laps_s = tuple(LapRecord(row, float(rng.choice(claimed)), True) for row in rng.choice(300, 40, replace=False))
        metres, told = drives.read(STREAM, replace(batch, observations=extreme, laps=laps_s, episodes=()))
        assert metres == []
        times.add(told)
        for lap in told:
            assert np.isfinite(lap.sectors).all()
            assert min(lap.sectors) >= 0.0
            trace = lap.course.trace(lap.version, 0, 1200.0)
            assert [trace.metres[-1], trace.seconds[-1]] == pytest.approx([1200.0, lap.course.time], abs=0.001)
            assert np.isfinite(msgspec.structs.astuple(trace)[3:]).all()
    assert times.policy is not None, "some of the claims hold together"


def test_what_one_bridge_names_neither_fills_the_memory_nor_costs_others_their_laps(
    driven: tuple[list[Batch], list[TrueLap]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, true = driven
    monkeypatch.setattr(laps, "_MOST_STEPS", 20 * laps._LEAST_STEPS)
    drives, told = Drives(TaskConfig().control_hz), []
    for number, batch in enumerate(batches):
        told += drives.read(STREAM, batch)[1]
        many = made_up_batch(number, run_lengths=(4,) * 8)
        drives.read(
            "b" * 32, replace(many, run_cars=np.arange(8 * number, 8 * number + 8, dtype=np.int32), episodes=())
        )
        assert sum(map(len, drives._cars.values())) <= 20
    check(told, true)


def test_a_lap_that_takes_too_many_steps_is_not_told(
    driven: tuple[list[Batch], list[TrueLap]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, true = driven
    most = int(true[1].lap.time * TaskConfig().control_hz) + 3
    monkeypatch.setattr(laps, "_MOST_STEPS_OF_A_LAP", most)
    check(read_all(batches), true[1:])


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

"""A run's folder in the bucket as a trainer leaves it, with laps that were really driven in the simulator."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
import numpy as np

from racing.car import CarState
from racing.evaluation import drive_laps, reference_actions
from racing.lap import About, Lap, cut_laps
from racing.reference_driver import ReferenceDriver
from racing.task import Float32Array
from racing.track import Track, parse_track
from racing.track_text import track_hash, track_text
from train_cloud.history_document import HistoryDocument, encode_history
from train_cloud.history_table import Point
from train_cloud.lap_table import LapRow, LapTrace
from train_cloud.object_store import ObjectStore
from train_cloud.run_folder.keys import HISTORY, METRICS, TRACKS

TRACK_SPEC = "seed:7:600"
TRACK = parse_track(TRACK_SPEC)
BEGUN = 1_790_000_000.0


@cache
def driven(pace: float, track: Track = TRACK) -> Lap:
    """A flying lap of a driver at this share of the fast one's speed."""
    drive, states = reference_actions(ReferenceDriver(track, pace=pace)), list[CarState]()

    def act(observation: Float32Array, state: CarState) -> Float32Array:
        states.append(state)
        return drive(observation, state)

    drive_laps(act, track, 3, slowest=2.0)
    return list(cut_laps(states, track, About("driver", datetime.now(UTC))))[-1]


def trace_of(lap: Lap, version: int, steps: int, samples: int = 400) -> LapTrace:
    """The lap as a history holds it."""
    assert lap.gap is not None
    places = np.linspace(0.0, float(lap.metres[-1]), samples)
    along = np.maximum.accumulate(lap.metres)

    def at(values: Any) -> list[float]:
        return [float(one) for one in np.interp(places, along, values)]

    held = np.searchsorted(along, places, "right").clip(1, len(along)) - 1
    return LapTrace(
        time=lap.time,
        version=version,
        steps=steps,
        seconds=at(lap.seconds),
        metres=places.tolist(),
        gap=at(lap.gap),
        speed=at(lap.speed),
        steer=at(lap.steer),
        pedals=at(lap.throttle - lap.brake),
        gear=[float(one) for one in lap.gear[held]],
    )


def points(count: int, cuts: Sequence[int] = (), every: int = 500, seconds: float = 60.0) -> list[Point]:
    """Points of curves that rise; before each of the points `cuts` the run was interrupted for an hour."""
    found, at, life = list[Point](), BEGUN, 0
    noise = np.random.default_rng(3)
    for number in range(count):
        at += seconds
        if number in cuts:
            at, life = at + 3600.0, life + 1
        share = number / max(1, count - 1)
        values = {
            "drive/mean_reward": 40.0 * share**0.5 + float(noise.normal()),
            "drive/mean_metres": 1800.0 * share + 20.0,
            "drive/off_track_rate": max(0.0, 1.0 - 1.2 * share),
            "drive/collision_rate": 0.02,
            "train/critic_loss": 0.5 + 2.0 * float(np.exp(-6.0 * share)) + 0.05 * float(noise.random()),
            "train/actor_loss": -10.0 * share + float(noise.normal(0.0, 0.2)),
            "rate/update_ratio": 0.97 + 0.03 * float(noise.random()),
            "rate/steps_per_second": 900.0 + 50.0 * float(noise.normal()),
        }
        found.append(Point(at, every * (number + 1), life, values))
    return found


def lap_rows(count: int, steps: int, best: float) -> list[LapRow]:
    """Clean laps that become faster, newest first, the last of them the best."""
    noise = np.random.default_rng(4)
    rows = []
    for number in range(count):
        share = (number + 1) / count
        time = best * (1.0 + 0.35 * (1.0 - share) ** 2 + (0.02 * float(noise.random()) if number + 1 < count else 0.0))
        rows.append(LapRow(BEGUN + 60.0 * steps * share / 500, round(steps * share), 5 + number, time, (time / 3,) * 3))
    return rows[::-1]


def metrics(**changes: Any) -> dict[str, Any]:
    """metrics.json of a run that has learned to lap."""
    verdict = {"steps": 48_000, "version": 90, "by": "simulator", "clean_laps": [3, 3, 3], "of_laps": 3}
    verdict |= {"best_lap_s": driven(0.93).time, "ends": ["all laps driven"] * 3}
    document: dict[str, Any] = {
        "run_id": "test-run",
        "updated": "2026-09-22T01:30:00+00:00",
        "state": "done",
        "method": "sac",
        "steps": 50_000,
        "trained_steps": 50_000,
        "total_timesteps": 50_000,
        "updates": 49_500,
        "episodes": 300,
        "laps": 260,
        "clean_laps": 210,
        "best_lap_s": driven(0.93).time,
        "mean_metres": 1800.0,
        "metres_trend": 20.0,
        "mean_laps": 1.5,
        "mean_reward": 40.0,
        "policy_lap_s": driven(0.93).time,
        "policy_sectors_s": [driven(0.93).time / 3] * 3,
        "judged": {"newest": verdict, "best": verdict},
        "losses": {"critic_loss": 0.5},
        "seconds": 6_000.0,
        "resumes": 2,
        "versions": {"python": "3.13.1", "ac-training": "0.1.0", "torch": "2.13.0"},
    }
    return document | changes


def history(human: bool = True) -> HistoryDocument:
    """The history of the same run."""
    best = driven(0.93)
    traces = {"best": trace_of(best, 90, 48_000), "newest": trace_of(best, 93, 50_000)}
    if human:
        traces["human"] = trace_of(driven(0.97), 0, 0)
    return HistoryDocument(points=points(100, (40, 70)), laps=lap_rows(210, 50_000, best.time), traces=traces)


def put_run(
    objects: ObjectStore, document: dict[str, Any], told: HistoryDocument | None, track: Track | None = TRACK
) -> None:
    """Put a run's documents into its folder of the bucket."""
    objects.put(METRICS, msgspec.json.encode(document))
    if told is not None:
        objects.put(HISTORY, encode_history(told))
    if track is not None:
        text = track_text(track)
        objects.put(f"{TRACKS}{track_hash(text)}.json", text)

"""Laps really driven in the simulator, as the batches that a bridge makes of them, beside what is true of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bridge.spool import Spool, SpooledBatch
from experience.environment import racing
from experience.recorder import Recorder
from racing.car import FloatArray
from racing.clock import Clock
from racing.driving import Lap, VectorDriving
from racing.evaluation import Actor
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track
from train_cloud.trainer.lap_trace import Course
from train_cloud.trainer.laps import DrivenLap

VERSION = 7


@dataclass(frozen=True, slots=True)
class TrueLap:
    """A completed lap with its sector times (3,), s, by where the simulator's car was.

    Attributes:
        seconds, metres: since the lap began and from the line, at the states (N,) of the whole drive.
        gap, speed, steer, pedals, gear: in each of them.
    """

    lap: Lap
    sectors: tuple[float, ...]
    seconds: FloatArray = field(repr=False)
    metres: FloatArray = field(repr=False)
    gap: FloatArray = field(repr=False)
    speed: FloatArray = field(repr=False)
    steer: FloatArray = field(repr=False)
    pedals: FloatArray = field(repr=False)
    gear: FloatArray = field(repr=False)


class Stumbling(Clock):
    """Lets its car roll on for 0.1 s after one step in a hundred."""

    def __init__(self) -> None:
        self.car: SimulatedCar
        self._random, self._late = np.random.default_rng(2), False

    def tick(self) -> None:
        self._late = bool(self._random.random() < 0.01)
        if self._late:
            self.car.advance(0.1)

    def off_period(self, seconds: float) -> bool:  # noqa: ARG002 - known already
        return self._late


def drive_laps(
    folder: Path, track: Track, actor: Actor, laps: int, clock: Stumbling | None = None
) -> tuple[list[SpooledBatch], list[TrueLap]]:
    """Have one car drive these laps from before the line, by VERSION, in batches of 100 steps."""
    car = SimulatedCar(track, start="line")
    if clock is not None:
        clock.car = car
    driving = VectorDriving(car, Task(track, TaskConfig(max_episode_seconds=3600.0)), clock)

    def place() -> float:
        return float(track.project(driving.state.position).s[0])

    def seen() -> tuple[float, ...]:
        state = driving.state
        gap = track.project(state.position).gap
        pedals, speed = state.throttle - state.brake, np.hypot(*state.velocity.T)
        return tuple(float(values[0]) for values in (gap, speed, state.steer, pedals, state.gear))

    observation = driving.reset()
    times, reached, told, driven = [0.0], [place() - track.length], [seen()], list[Lap]()
    with Spool(folder) as spool:
        recorder = Recorder(spool, racing().spaces.layout, 1, flush_seconds=60.0, flush_steps=100, chunks=256)
        while len(driven) < laps:
            step = driving.step(actor(observation, driving.state))
            assert recorder.record(observation, step, VERSION)
            assert not step.episodes, step.episodes
            observation = step.observation
            driven += step.laps
            told.append(seen())
            times.append(float(driving.state.time[0]))
            reached.append(reached[-1] + (place() - reached[-1] + track.length / 2) % track.length - track.length / 2)
        recorder.close()
        batches = [batch for number in range(1, spool.last_number + 1) if (batch := spool.read(number)) is not None]
    borders = np.interp(track.length / 3.0 * np.arange(3 * laps + 1), reached, times)
    sectors = np.diff(borders).reshape(laps, 3).tolist()
    at, metres, columns = np.array(times), np.array(reached), np.array(told).T
    each = zip(driven, sectors, borders[:-1:3], range(laps), strict=True)
    return batches, [
        TrueLap(lap, tuple(row), at - began, metres - n * track.length, *columns) for lap, row, began, n in each
    ]


def driven_lap(sectors: tuple[float, ...], version: int = VERSION) -> DrivenLap:
    """A clean lap as the trainer tells it, driven straight ahead at 50 m/s in steps of 0.05 s."""
    steps = int(sum(sectors) / 0.05) + 2
    seen = np.tile(np.array([[1.5], [50.0], [5.0], [-0.25], [0.5]], np.float32), steps)
    course = Course(np.full(steps, 50.0), np.full(steps, 0.05), seen, 0.025, sum(sectors))
    return DrivenLap(sectors, version == 0, version, course)

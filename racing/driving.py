"""Drives N cars at once: binds a car, the task and a clock, one control period a step.

This is what the bridge drives, what evaluation measures and what `RacingEnv` wraps. Where an episode ends, that car
starts a new one by itself. It needs no Gymnasium, whose import would cost the gaming PC a tenth of a second.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from racing.car import BoolArray, Car, CarState
from racing.clock import Clock, SimulatedClock
from racing.task import End, Float32Array, Task, TaskMemory, controls_of, merge_memory, on_action_grid

MOST_OFF_TRACKS: Final = 8
_OFF_TRACK = End.OFF_TRACK.name.lower()


@dataclass(frozen=True, slots=True)
class Lap:
    """A completed lap of car number `car`: its time in s, and whether it never had more than two wheels out."""

    car: int
    time: float
    clean: bool


@dataclass(frozen=True, slots=True)
class EpisodeEnd:
    """An episode of car number `car` ended: its steps, summed reward, and why."""

    car: int
    steps: int
    total_reward: float
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one control period brought for N cars.

    Attributes:
        observation: (N, D) float32, to act on next; of a new episode where one ended.
        next_observation: (N, D) float32, what this step led to; differs from `observation` where an episode ended.
        action: (N, A) float32, what was applied: the given action on the grid.
        reward: (N,) float32.
        terminated, truncated: (N,) bool.
        action_age: (N,) float32, s from reading the state to applying the action computed from it.
        off_period: by our clock the step did not take a period: from one state to the next it was longer, or shorter.
        laps, episodes: what ended in this step.
    """

    observation: Float32Array
    next_observation: Float32Array
    action: Float32Array
    reward: Float32Array
    terminated: BoolArray
    truncated: BoolArray
    action_age: Float32Array
    off_period: bool
    laps: tuple[Lap, ...]
    episodes: tuple[EpisodeEnd, ...]


class Moment(NamedTuple):
    """N cars after a step, as the task sees them, and what the first one has completed so far: laps, the newest lap."""

    state: CarState
    memory: TaskMemory
    laps: int
    lap: Lap | None


class Lookout:
    """What other threads may see of cars while they are driven; it costs the driving thread next to nothing.

    Several that drive the same cars in turn may share one.
    """

    def __init__(self) -> None:
        self.moment: Moment | None = None
        """The newest one, replaced whole; None before the first step."""
        self.off_tracks: deque[tuple[float, float]] = deque(maxlen=MOST_OFF_TRACKS)
        """Place and gap (m) where the newest episodes ended off the track; who looks takes them out."""
        self._laps = 0
        self._lap: Lap | None = None

    def began(self, state: CarState) -> None:
        """An episode of the first car begins here."""

    def see(self, state: CarState, memory: TaskMemory, laps: tuple[Lap, ...], episodes: tuple[EpisodeEnd, ...]) -> None:
        """A step has led here."""
        for lap in laps:
            if lap.car == 0:
                self._laps, self._lap = self._laps + 1, lap
        self.moment = Moment(state, memory, self._laps, self._lap)
        for end in episodes:
            if end.reason == _OFF_TRACK:
                at = memory.projection
                self.off_tracks.append((float(at.s[end.car]), float(at.gap[end.car])))


class VectorDriving:
    """N cars driven in step; where an episode ends, that car starts a new one by itself.

    Args:
        car: where states come from and controls go to.
        task: what is observed and rewarded.
        clock: paces the steps; default: simulated time.
        now: time source for the action's age and the steps' durations, s.
        restarts: begin new episodes within the step in which one ended; False where whoever drives does it by `reset`,
            because a start takes its time, or can fail, and what ended must not be lost with it.
        lookout: shows other threads each step; None where nobody looks.
    """

    def __init__(
        self,
        car: Car,
        task: Task,
        clock: Clock | None = None,
        now: Callable[[], float] = time.perf_counter,
        restarts: bool = True,
        lookout: Lookout | None = None,
    ) -> None:
        self.car = car
        self.task = task
        self.clock: Clock = clock or SimulatedClock()
        self.period = 1.0 / task.config.control_hz
        self._now, self._restarts, self._lookout = now, restarts, lookout
        self.state: CarState
        """The state that the latest observation was made of."""
        self._memory: TaskMemory
        self._read_at = 0.0

    def reset(self) -> Float32Array:
        """Start new episodes for all cars; returns (N, D) float32."""
        self.car.reset(np.ones(self.car.count, bool))
        self._read()
        self._memory = self.task.begin(self.state)
        if self._lookout is not None:
            self._lookout.began(self.state)
        self.clock.start()
        return self.task.observe(self.state, self._memory)

    def step(self, action: Float32Array) -> Step:
        """Apply `action` (N, A), let one period pass, and judge what came of it."""
        applied = on_action_grid(action)
        self.car.apply(controls_of(applied))
        return self._passed(applied, self._now() - self._read_at)

    def watch(self) -> Step:
        """Let one period pass in which somebody else drives; the action is what the cars show applied at its end."""
        return self._passed(None, 0.0)

    def _passed(self, applied: Float32Array | None, age: float) -> Step:
        self.car.advance(self.period)
        self.clock.tick()
        began = self._read_at
        self._read()
        # Judged by when the states were read: a sleep or a read that took too long is in the step that it lengthened.
        off_period = self.clock.off_period(self._read_at - began)
        if applied is None:
            applied = on_action_grid(np.stack([self.state.steer, self.state.throttle - self.state.brake], axis=1))
        memory, outcome = self.task.advance(self._memory, self.state, applied)
        self._memory = memory
        observed = self.task.observe(self.state, memory)
        laps = tuple(
            Lap(car, float(outcome.lap_time[car]), bool(outcome.lap_clean[car]))
            for car in np.flatnonzero(~np.isnan(outcome.lap_time)).tolist()
        )
        ended: BoolArray = outcome.end != End.NONE
        episodes = tuple(
            EpisodeEnd(car, int(memory.steps[car]), float(memory.total_reward[car]), End(outcome.end[car]).name.lower())
            for car in np.flatnonzero(ended).tolist()
        )
        if self._lookout is not None:
            self._lookout.see(self.state, memory, laps, episodes)
        return Step(
            observation=self._restart(ended) if self._restarts and ended.any() else observed,
            next_observation=observed,
            action=applied,
            reward=outcome.reward,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            action_age=np.full(self.car.count, age, np.float32),
            off_period=off_period,
            laps=laps,
            episodes=episodes,
        )

    def _read(self) -> None:
        self.state = self.car.read()
        self._read_at = self._now()

    def _restart(self, ended: BoolArray) -> Float32Array:
        """New episodes where `ended`; the others go on as they were."""
        self.car.reset(ended)
        self._read()
        self._memory = merge_memory(self._memory, self.task.begin(self.state), ended)
        if self._lookout is not None and ended[0]:
            self._lookout.began(self.state)
        if ended.all():
            self.clock.start()
        return self.task.observe(self.state, self._memory)

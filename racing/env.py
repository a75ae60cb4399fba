"""Binds a car, the task and a clock: `VectorDriving` for N cars at once, `RacingEnv` as a Gymnasium environment.

VectorDriving is what the bridge drives and what evaluation uses; RacingEnv is the same for one car, for everybody's
libraries. Both run in simulated time or against a real-time clock, by the clock they are given.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from racing.car import BoolArray, Car, CarState
from racing.clock import Clock, SimulatedClock
from racing.simulator import SimulatedCar
from racing.task import (
    ACTION_SIZE,
    OBSERVATION_BOUND,
    OBSERVATION_SIZE,
    OBSERVATION_STEP,
    End,
    Float32Array,
    Outcome,
    Task,
    TaskConfig,
    TaskMemory,
    controls_of,
    merge_memory,
    on_action_grid,
)
from racing.track import Track


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
        final_observation: (N, D) float32, what this step led to; differs from `observation` where an episode ended.
        action: (N, A) float32, what was applied: the given action on the grid.
        reward: (N,) float32.
        terminated, truncated: (N,) bool.
        action_age: (N,) float32, s from reading the state to applying the action computed from it.
        late: the period was over before the step was.
        laps, episodes: what ended in this step.
    """

    observation: Float32Array
    final_observation: Float32Array
    action: Float32Array
    reward: Float32Array
    terminated: BoolArray
    truncated: BoolArray
    action_age: Float32Array
    late: bool
    laps: tuple[Lap, ...]
    episodes: tuple[EpisodeEnd, ...]


class VectorDriving:
    """N cars driven in step; where an episode ends, that car starts a new one by itself.

    Args:
        car: where states come from and controls go to.
        task: what is observed and rewarded.
        clock: paces the steps; default: simulated time.
        now: time source for the action's age, s.
    """

    def __init__(
        self, car: Car, task: Task, clock: Clock | None = None, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.car = car
        self.task = task
        self.clock: Clock = clock or SimulatedClock()
        self.period = 1.0 / task.config.control_hz
        self._now = now
        self._state: CarState
        self._memory: TaskMemory
        self._read_at = 0.0

    @property
    def state(self) -> CarState:
        """The state that the latest observation was made of."""
        return self._state

    def reset(self) -> Float32Array:
        """Start new episodes for all cars; returns (N, D) float32."""
        self.car.reset(np.ones(self.car.count, bool))
        self._read()
        self._memory = self.task.begin(self._state)
        self.clock.start()
        return self.task.observe(self._state, self._memory)

    def step(self, action: Float32Array) -> Step:
        """Apply `action` (N, A), let one period pass, and judge what came of it."""
        applied, observed, outcome, age, late = self._drive(action)
        memory = self._memory
        laps = tuple(
            Lap(int(car), float(outcome.lap_time[car]), bool(outcome.lap_clean[car]))
            for car in np.flatnonzero(~np.isnan(outcome.lap_time))
        )
        ended: BoolArray = outcome.end != End.NONE
        episodes = tuple(
            EpisodeEnd(
                int(car),
                int(memory.steps[car]),
                float(memory.total_reward[car]),
                End(int(outcome.end[car])).name.lower(),
            )
            for car in np.flatnonzero(ended)
        )
        following = self._restart(ended) if ended.any() else observed
        return Step(
            following,
            observed,
            applied,
            outcome.reward,
            outcome.terminated,
            outcome.truncated,
            age,
            late,
            laps,
            episodes,
        )

    def _read(self) -> None:
        self._state = self.car.read()
        self._read_at = self._now()

    def _drive(self, action: Float32Array) -> tuple[Float32Array, Float32Array, Outcome, Float32Array, bool]:
        applied = on_action_grid(action)
        self.car.apply(controls_of(applied))
        age = self._now() - self._read_at
        self.car.advance(self.period)
        late = self.clock.tick()
        self._read()
        self._memory, outcome = self.task.advance(self._memory, self._state, applied)
        observed = self.task.observe(self._state, self._memory)
        return applied, observed, outcome, np.full(self.car.count, age, np.float32), late

    def _restart(self, ended: BoolArray) -> Float32Array:
        """New episodes where `ended`; the others go on as they were."""
        self.car.reset(ended)
        self._read()
        self._memory = merge_memory(self._memory, self.task.begin(self._state), ended)
        if ended.all():
            self.clock.start()
        return self.task.observe(self._state, self._memory)


class RacingEnv(gymnasium.Env[Float32Array, Float32Array]):
    """One simulated car as a Gymnasium environment.

    Observation: Box(-8, 8, (OBSERVATION_SIZE,), float32), columns as in `racing.task.CHANNELS`.
    Action: Box(-1, 1, (2,), float32), (steer, pedals); rounded to the grid before it is applied.
    info: `lap_time` (s) and `lap_clean` on the step that completes a lap, `end` on the last step, `late`.

    Args:
        track: the circuit.
        config: the task's settings.
        car: another single car than the simulated one.
        clock: paces the steps; default: simulated time.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the declaration that gymnasium.Env asks for

    def __init__(
        self,
        track: Track,
        config: TaskConfig | None = None,
        car: Car | None = None,
        clock: Clock | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode is {render_mode!r}: this environment draws nothing, leave it None")
        self.render_mode = None
        self._driving = VectorDriving(car or SimulatedCar(track, count=1), Task(track, config), clock)
        if self._driving.car.count != 1:
            raise ValueError("RacingEnv drives one car; VectorDriving drives several")
        self.observation_space = spaces.Box(
            -OBSERVATION_BOUND, OBSERVATION_BOUND - OBSERVATION_STEP, (OBSERVATION_SIZE,), np.float32
        )
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Start an episode; a seed makes the simulated car's start repeatable."""
        super().reset(seed=seed, options=options)
        car = self._driving.car
        if seed is not None and isinstance(car, SimulatedCar):
            car.reseed(seed)
        return self._driving.reset()[0], {}

    def step(self, action: Float32Array) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Drive one control period; a step after the end continues with the new episode's car, as reset would."""
        step = self._driving.step(np.asarray(action, np.float32)[None, :])
        info: dict[str, Any] = {"late": step.late}
        for lap in step.laps:
            info |= {"lap_time": lap.time, "lap_clean": lap.clean}
        for episode in step.episodes:
            info |= {"end": episode.reason}
        return (
            step.final_observation[0],
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            info,
        )

    def close(self) -> None:
        """Release the car."""
        self._driving.car.close()

"""Rows of steps in preallocated arrays, and how they become a batch for the wire.

Adding a step copies its rows and nothing else, which is what a control loop can afford. Assembling happens later, in
another thread: it cuts the rows into unbroken runs and leaves out what no batch may hold.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from experience.batches import (
    MAX_ACTION_AGE,
    MAX_NUMBER,
    MAX_REWARD,
    TIMING_STEP,
    Batch,
    EpisodeRecord,
    Float32Array,
    LapRecord,
    Layout,
    within,
)

if TYPE_CHECKING:
    from racing.driving import EpisodeEnd, Lap, Step

_Scalar = TypeVar("_Scalar", bound=np.generic)


class Chunk:
    """Room for `capacity` steps of `cars` cars.

    `due` is the time at which it should be stored, on the clock of whoever sets it; infinite while it is empty.
    """

    def __init__(self, capacity: int, cars: int, layout: Layout) -> None:
        observation, action = layout.observation, layout.action
        self.capacity, self.cars = capacity, cars
        self.observations = np.empty((capacity + 1, cars, observation.size), observation.dtype)
        """What each step was chosen on, and in the row after the last one what that step led to."""
        self.actions = np.empty((capacity, cars, action.size), action.dtype)
        self.rewards = np.empty((capacity, cars), np.float32)
        self.terminated = np.empty((capacity, cars), np.bool_)
        self.truncated = np.empty((capacity, cars), np.bool_)
        self.ages = np.empty((capacity, cars), np.float32)
        self.policy_versions = np.empty(capacity, np.uint32)
        self.off_period = np.empty(capacity, np.bool_)
        self.clear()

    def clear(self) -> None:
        """Empty it for the next use."""
        self.filled = 0
        self.due = float("inf")
        self.led_to: Float32Array | None = None
        """What the newest step led to."""
        self.apart: dict[int, Float32Array] = {}
        """What a step led to, by its row, where the next step was not chosen on the same array."""
        self.laps: list[tuple[int, Lap]] = []
        self.episodes: list[tuple[int, EpisodeEnd]] = []

    @property
    def steps(self) -> int:
        """Steps of all cars in it."""
        return self.filled * self.cars

    def add(self, observation: Float32Array, step: "Step", policy_version: int) -> None:
        """Copy one step of all cars; there must be room. Nobody may change the step's arrays any more.

        Where it was chosen on the very array that the step before led to, this is stored once.
        """
        k = self.filled
        if observation is not self.led_to and self.led_to is not None:
            self.apart[k - 1] = self.led_to.reshape(self.cars, -1)
        self.led_to = step.next_observation
        # An environment's own shapes, images among them, are rows here.
        self.observations[k] = observation.reshape(self.cars, -1)
        self.actions[k] = step.action.reshape(self.cars, -1)
        self.rewards[k] = step.reward
        self.terminated[k] = step.terminated
        self.truncated[k] = step.truncated
        self.ages[k] = step.action_age
        self.policy_versions[k] = policy_version
        self.off_period[k] = step.off_period
        self.laps += [(k, lap) for lap in step.laps]
        self.episodes += [(k, end) for end in step.episodes]
        self.filled = k + 1


def assemble(chunk: Chunk, layout: Layout, first_step: Callable[[int], int]) -> Batch | None:
    """The chunk as a batch, car after car; None when no step of it is usable.

    Steps with a value that no batch may hold are left out. A run ends where an episode ends, where a step was left out,
    and where an observation is not what the step before led to, which is looked at where it is another array.
    `first_step` is the index of a car's next step in its life.
    """
    count, cars, led_to = chunk.filled, chunk.cars, chunk.led_to
    if led_to is None:
        return None

    def by_car(rows: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        return np.swapaxes(rows[:count], 0, 1)

    chunk.observations[count] = led_to.reshape(cars, -1)
    next_rows = chunk.observations[1 : count + 1]
    joined = np.ones((count, cars), np.bool_)
    if apart := list(chunk.apart):
        next_rows = next_rows.copy()
        next_rows[apart] = list(chunk.apart.values())
        # Where one car began a new episode, the others may have gone on.
        joined[apart] = (next_rows[apart] == chunk.observations[1:][apart]).all(axis=2)
    observations, next_observations = by_car(chunk.observations), by_car(next_rows)
    actions, rewards = by_car(chunk.actions), by_car(chunk.rewards)
    usable = within(rewards, MAX_REWARD)
    for values in (observations, next_observations, actions):
        usable &= within(values, MAX_NUMBER).all(axis=2)
    if not usable.any():
        return None
    ended = by_car(chunk.terminated) | by_car(chunk.truncated)
    starts = np.ones((cars, count), np.bool_)
    starts[:, 1:] = (ended | ~usable | ~by_car(joined))[:, :-1]
    car_of, step_of = np.nonzero(usable)
    starting = starts[car_of, step_of]
    firsts = np.flatnonzero(starting)
    steps = len(car_of)
    lasts = np.append(firsts[1:], steps) - 1
    current_rows = np.arange(steps) + np.cumsum(starting) - 1
    rows = np.empty((steps + len(firsts), layout.observation.size), layout.observation.dtype)
    rows[current_rows] = observations[car_of, step_of]
    rows[current_rows[lasts] + 1] = next_observations[car_of[lasts], step_of[lasts]]
    within_car = np.cumsum(usable, axis=1)[car_of, step_of] - 1
    bases = np.array([first_step(car) for car in range(cars)], np.int64)
    row_of = np.full((count, cars), -1)
    row_of[step_of, car_of] = np.arange(steps)
    return Batch(
        layout=layout,
        run_lengths=(lasts - firsts + 1).astype(np.int32),
        run_cars=car_of[firsts].astype(np.int32),
        run_first_steps=bases[car_of[firsts]] + within_car[firsts],
        observations=rows,
        actions=actions[car_of, step_of],
        rewards=rewards[car_of, step_of],
        terminated=by_car(chunk.terminated)[car_of, step_of],
        truncated=by_car(chunk.truncated)[car_of, step_of],
        policy_versions=chunk.policy_versions[step_of],
        # A clock that stumbles must not cost a batch; and the timing grid costs one byte a step instead of four.
        action_ages=on_timing_grid(by_car(chunk.ages)[car_of, step_of]),
        off_period=chunk.off_period[step_of],
        laps=tuple(
            LapRecord(int(row_of[k, lap.car]), float(lap.time), bool(lap.clean))
            for k, lap in chunk.laps
            if row_of[k, lap.car] >= 0
        ),
        episodes=tuple(
            EpisodeRecord(int(row_of[k, end.car]), end.steps, float(end.total_reward), end.reason)
            for k, end in chunk.episodes
            if row_of[k, end.car] >= 0
        ),
    )


def on_timing_grid(seconds: Float32Array) -> Float32Array:
    """Times on the wire's grid and within its bounds, same shape; what is negative or not finite becomes 0."""
    sane = np.clip(np.nan_to_num(seconds, nan=0.0, posinf=0.0), 0.0, MAX_ACTION_AGE)
    rounded: Float32Array = (np.rint(sane / TIMING_STEP) * TIMING_STEP).astype(np.float32)
    return rounded

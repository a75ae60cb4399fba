"""Rows of steps in preallocated arrays, and how they become a batch for the wire.

Adding a step copies its rows and nothing else, which is what a control loop can afford. Assembling happens later, in
another thread: it cuts the rows into unbroken runs and leaves out what no batch may hold.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from experience.batches import TIMING_STEP
from experience.codec import Batch, EpisodeRecord, LapRecord, Layout

if TYPE_CHECKING:
    from racing.driving import Step

Float32Array = npt.NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)


class Chunk:
    """Room for `capacity` steps of `cars` cars.

    `due` is the time at which it should be stored, on the clock of whoever sets it; infinite while it is empty.
    """

    def __init__(self, capacity: int, cars: int, layout: Layout) -> None:
        observation, action = layout.observation, layout.action
        self.capacity, self.cars = capacity, cars
        self.observations = np.empty((capacity, cars, observation.size), observation.dtype)
        self.following = np.empty_like(self.observations)
        self.actions = np.empty((capacity, cars, action.size), action.dtype)
        self.rewards = np.empty((capacity, cars), np.float32)
        self.terminated = np.empty((capacity, cars), np.bool_)
        self.truncated = np.empty((capacity, cars), np.bool_)
        self.ages = np.empty((capacity, cars), np.float32)
        self.versions = np.empty(capacity, np.uint32)
        self.late = np.empty(capacity, np.bool_)
        self.clear()

    def clear(self) -> None:
        """Empty it for the next use."""
        self.filled = 0
        self.due = float("inf")
        self.laps: list[tuple[int, int, float, bool]] = []
        self.episodes: list[tuple[int, int, int, float, str]] = []

    @property
    def steps(self) -> int:
        """Steps of all cars in it."""
        return self.filled * self.cars

    def add(self, observation: Float32Array, step: "Step", version: int) -> None:
        """Copy one step of all cars; there must be room."""
        k = self.filled
        # An environment's own shapes, images among them, are rows here.
        self.observations[k] = observation.reshape(self.cars, -1)
        self.following[k] = step.final_observation.reshape(self.cars, -1)
        self.actions[k] = step.action.reshape(self.cars, -1)
        self.rewards[k] = step.reward
        self.terminated[k] = step.terminated
        self.truncated[k] = step.truncated
        self.ages[k] = step.action_age
        self.versions[k] = version
        self.late[k] = step.late
        for lap in step.laps:
            self.laps.append((k, lap.car, lap.time, lap.clean))
        for end in step.episodes:
            self.episodes.append((k, end.car, end.steps, end.total_reward, end.reason))
        self.filled = k + 1


def assemble(chunk: Chunk, layout: Layout, first_step: Callable[[int], int]) -> Batch | None:
    """The chunk as a batch, car after car; None when no step of it is usable.

    Steps with a value that is not finite are left out. A run ends where an episode ends, where a step was left out,
    and where an observation is not what the step before led to.

    Args:
        first_step: the index of a car's next step in its life.
    """
    count, cars = chunk.filled, chunk.cars

    def by_car(rows: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        return np.swapaxes(rows[:count], 0, 1)

    observations, following = by_car(chunk.observations), by_car(chunk.following)
    actions, rewards = by_car(chunk.actions), by_car(chunk.rewards)
    usable = np.isfinite(rewards)
    for values in (observations, following, actions):
        usable &= np.isfinite(values).all(axis=2)
    if not usable.any():
        return None
    ended = by_car(chunk.terminated) | by_car(chunk.truncated)
    starts = np.ones((cars, count), np.bool_)
    joined = (following[:, :-1] == observations[:, 1:]).all(axis=2)
    starts[:, 1:] = ended[:, :-1] | ~usable[:, :-1] | ~joined
    car_of, step_of = np.nonzero(usable)
    starting = starts[car_of, step_of]
    firsts = np.flatnonzero(starting)
    steps = len(car_of)
    lasts = np.append(firsts[1:], steps) - 1
    current_rows = np.arange(steps) + np.cumsum(starting) - 1
    rows = np.empty((steps + len(firsts), layout.observation.size), layout.observation.dtype)
    rows[current_rows] = observations[car_of, step_of]
    rows[current_rows[lasts] + 1] = following[car_of[lasts], step_of[lasts]]
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
        policy_versions=chunk.versions[step_of],
        # A clock that stumbles must not cost a batch; and the timing grid costs one byte a step instead of four.
        action_ages=on_timing_grid(by_car(chunk.ages)[car_of, step_of]),
        late=chunk.late[step_of],
        laps=tuple(
            LapRecord(int(row_of[k, car]), float(seconds), bool(clean))
            for k, car, seconds, clean in chunk.laps
            if row_of[k, car] >= 0
        ),
        episodes=tuple(
            EpisodeRecord(int(row_of[k, car]), length, float(total), reason)
            for k, car, length, total, reason in chunk.episodes
            if row_of[k, car] >= 0
        ),
    )


def on_timing_grid(seconds: Float32Array) -> Float32Array:
    """Times rounded to the wire's grid, same shape; what is negative or not finite becomes 0."""
    sane = np.nan_to_num(np.maximum(seconds, 0.0), nan=0.0, posinf=0.0)
    rounded: Float32Array = (np.rint(sane / TIMING_STEP) * TIMING_STEP).astype(np.float32)
    return rounded

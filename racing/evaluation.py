"""How a driver is judged: laps in a row from a rolling start, on its own, in simulated time.

The same function measures the learned policy and the reference driver, so that their lap times compare.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from racing.car import CarState, FloatArray
from racing.driving import Lap, VectorDriving
from racing.policy import Policy
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, TaskConfig
from racing.track import Track


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation saw.

    Attributes:
        laps: the laps completed, in order.
        positions: (T, 2) m, one row a control period.
        speeds: (T,) m/s.
        end: why the drive ended before its laps were complete, or "" when they were.
    """

    laps: tuple[Lap, ...]
    positions: FloatArray
    speeds: FloatArray
    end: str


Actor = Callable[[Float32Array, CarState], Float32Array]
"""The action (1, A) float32 for the observation (1, D) and the state of one car, whichever of them it needs."""


def policy_actions(policy: Policy) -> Actor:
    """A policy without exploration."""
    return lambda observation, _state: policy.act(observation)


def reference_actions(driver: ReferenceDriver) -> Actor:
    """The reference driver through the task's actions, so that it feels the same grid and rate as a policy."""

    def act(_observation: Float32Array, state: CarState) -> Float32Array:
        controls = driver.controls(state)
        return np.stack([controls.steer, controls.throttle - controls.brake], axis=1).astype(np.float32)

    return act


def drive_laps(
    actor: Actor, track: Track, laps: int, config: TaskConfig | None = None, slowest: float = 8.0
) -> Evaluation:
    """Drive `laps` laps in a row from a rolling start before the line; the drive ends with the first episode's end.

    It is given up where the mean speed is below `slowest`, m/s.
    """
    limit = (laps + 0.2) * track.length / slowest
    task = Task(track, replace(config or TaskConfig(), max_episode_seconds=limit))
    driving = VectorDriving(SimulatedCar(track, count=1, start="line"), task)
    observation = driving.reset()
    results: list[Lap] = []
    positions, speeds, end = [], [], ""
    while len(results) < laps and not end:
        state = driving.state
        positions.append(state.position[0].copy())
        speeds.append(float(np.hypot(*state.velocity[0])))
        step = driving.step(actor(observation, state))
        observation = step.observation
        results += step.laps
        end = step.episodes[0].reason if step.episodes else ""
    return Evaluation(tuple(results), np.array(positions), np.array(speeds), end)

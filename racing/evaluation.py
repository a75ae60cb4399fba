"""How a driver is judged: laps in a row from rolling starts, on its own, in simulated time.

The same functions measure the learned policy and the reference driver, so that their lap times compare.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from racing.car import Car, CarState, FloatArray
from racing.delayed_car import DelayedCar
from racing.driving import Lap, VectorDriving
from racing.link_model import LinkModel
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


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a driver laps from each of several starts.

    Attributes:
        clean: for each start, clean laps in a row from the first lap on.
        ends: for each, why the drive ended before its laps were complete, or "" when they were.
        best: fastest clean lap of all, s; None where there was none.
        metres: driven from each start.
    """

    clean: tuple[int, ...]
    ends: tuple[str, ...]
    best: float | None
    metres: tuple[float, ...] = ()

    @property
    def rank(self) -> tuple[tuple[int, ...], float]:
        """Greater is better: clean laps, those of the worst start first, then the fastest lap."""
        return tuple(sorted(self.clean)), -(self.best or float("inf"))


Actor = Callable[[Float32Array, CarState], Float32Array]
"""Actions (N, A) float32 for the observations (N, D) and the state of N cars, whichever of them it needs."""


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


def judge(
    actor: Actor,
    track: Track,
    starts: int = 3,
    laps: int = 3,
    config: TaskConfig | None = None,
    slowest: float = 8.0,
    link: LinkModel | None = None,
) -> Judgement:
    """Drive `laps` laps from each of `starts` places, the first before the line and the others evenly round the track.

    As in `drive_laps`, each drive ends with its first episode, and is given up where it is slower than `slowest`, m/s.
    The cars obey as late as over `link`; None for at once.
    """
    limit = (laps + 1.2) * track.length / slowest
    task = Task(track, replace(config or TaskConfig(), max_episode_seconds=limit))
    places = track.length * np.arange(starts) / starts
    places[0] = -10.0
    car: Car = SimulatedCar(track, starts, start=places)
    driving = VectorDriving(car if link is None else DelayedCar(car, link), task)
    observation = driving.reset()
    driven: list[list[Lap]] = [[] for _ in range(starts)]
    ends, metres = [""] * starts, np.zeros(starts)
    going = set(range(starts))
    while going:
        metres[list(going)] += driving.period * np.hypot(*driving.state.velocity[list(going)].T)
        step = driving.step(actor(observation, driving.state))
        observation = step.observation
        for lap in step.laps:
            if lap.car in going:
                driven[lap.car].append(lap)
        for episode in step.episodes:
            if episode.car in going:
                ends[episode.car] = episode.reason
        going -= {car for car in going if ends[car] or len(driven[car]) >= laps}
    clean = tuple(sum(1 for _ in takewhile(lambda lap: lap.clean, those)) for those in driven)
    best = min((lap.time for those in driven for lap in those if lap.clean), default=None)
    return Judgement(clean, tuple(ends), best, tuple(metres.tolist()))

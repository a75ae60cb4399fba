"""How well policies do that a trainer publishes: metres without an error in the simulator, Gymnasium's returns."""

import gymnasium
import numpy as np

from experience import environment
from racing.driving import VectorDriving
from racing.policy import Policy
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig
from racing.track import Track
from tests.support.site import Site
from tests.support.waiting import wait_until
from train_cloud.store import WeightsRow

CARS = 16
EVALUATION_SECONDS = 20.0


def mean_return(name: str, policy: Policy, episodes: int = 20) -> float:
    """Of episodes of Gymnasium's environment `name`, driven here as well as the policy can."""
    env, returns = gymnasium.make(name), []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            action = policy.act(observation).reshape(env.action_space.shape or ())[()]
            observation, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def mean_distance(policy: Policy, track: Track) -> float:
    """Metres that each of CARS cars gets without exploration before it errs, on average; same starts each time."""
    task = Task(track, TaskConfig(max_episode_seconds=EVALUATION_SECONDS))
    driving = VectorDriving(SimulatedCar(track, count=CARS, seed=99), task)
    observation = driving.reset()
    going, distance = np.ones(CARS, bool), np.zeros(CARS)
    for _ in range(int(EVALUATION_SECONDS * task.config.control_hz)):
        speed = np.hypot(*driving.state.velocity.T)
        distance[going] += speed[going] * driving.period
        step = driving.step(policy.act(observation))
        going &= ~(step.terminated | step.truncated)
        observation = step.observation
    return float(distance.mean())


def next_versions(site: Site, count: int, after: int = 0) -> list[WeightsRow]:
    """The next `count` versions that the trainer publishes, the first with a serial above `after`."""
    store = site.store()
    try:
        found: list[WeightsRow] = []
        while len(found) < count:
            newest = found[-1].serial if found else after
            wait_until(lambda: store.latest_weights(newest) is not None, "a new version comes", 60.0)  # noqa: B023 - at once
            row = store.latest_weights(newest)
            assert row is not None
            found.append(row)
        return found
    finally:
        store.close()


def skills(versions: list[WeightsRow], track: Track) -> list[float]:
    """The mean distance of each version: one alone may be a bad moment."""
    signature = environment.racing().signature
    return [mean_distance(Policy.from_bytes(row.blob, signature), track) for row in versions]

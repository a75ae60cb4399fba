"""Toy environments, and batches of what a learner does in them: made by hand, as a recorder would make them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from experience.batches import AnyArray, Batch, EpisodeRecord
from experience.environment import Environment
from experience.rows import to_rows
from experience.spaces import Spaces, SpaceSpec
from train_cloud.trainer.learning.learner import Learner

EPISODE = 20


class Reach(gymnasium.Env[Any, Any]):
    """A point on a line from -1 to 1 that is to be brought to 0: each step costs its distance.

    `seen` is how it is shown ("vector", "image", "dict", "cells"), `moved` how it is moved ("box", "discrete", "many").
    Episodes are cut off after EPISODE steps.
    """

    def __init__(self, seen: str = "vector", moved: str = "box") -> None:
        image = spaces.Box(0, 255, (36, 40, 3), np.uint8)
        line = spaces.Box(-1.0, 1.0, (1,), np.float32)
        observations: dict[str, gymnasium.Space[Any]] = {
            "vector": line,
            "image": image,
            "cells": spaces.Discrete(11, start=-5),
            "dict": spaces.Dict({"camera": spaces.Dict({"front": image}), "at": line, "keys": spaces.MultiBinary(2)}),
        }
        actions: dict[str, gymnasium.Space[Any]] = {
            "box": spaces.Box(-2.0, 2.0, (1,), np.float32),
            "discrete": spaces.Discrete(3, start=-1),
            "many": spaces.MultiDiscrete([3, 2]),
        }
        self.observation_space, self.action_space = observations[seen], actions[moved]
        self._seen, self._moved, self._random = seen, moved, np.random.default_rng(5)

    @property
    def spaces(self) -> Spaces:
        """Both."""
        return Spaces(SpaceSpec(self.observation_space), SpaceSpec(self.action_space))

    @property
    def environment(self) -> Environment:
        """With a name."""
        return Environment("toys/Reach-v0", self.spaces)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        self._at, self._steps = float(self._random.uniform(-1, 1)), 0
        return self._observed(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        move = float(np.ravel(action)[0]) - (1.0 if self._moved == "many" else 0.0)
        self._at = float(np.clip(self._at + 0.2 * move, -1.0, 1.0))
        self._steps += 1
        return self._observed(), -abs(self._at), False, self._steps >= EPISODE, {}

    def _observed(self) -> Any:
        line = np.array([self._at], np.float32)
        image = np.zeros((36, 40, 3), np.uint8)
        image[:, round((self._at + 1) * 19.5)] = 255
        return {
            "vector": line,
            "image": image,
            "cells": np.int64(round(self._at * 5)),
            "dict": {"camera": {"front": image}, "at": line, "keys": np.zeros(2, np.int8)},
        }[self._seen]


class Collector:
    """Steps `count` toys by a learner, and gives what they did as batches, a run of each toy in each of them."""

    def __init__(self, seen: str = "vector", moved: str = "box", count: int = 1) -> None:
        self.toys = [Reach(seen, moved) for _ in range(count)]
        self.spaces = self.toys[0].spaces
        self._seen = [toy.reset()[0] for toy in self.toys]
        self._steps, self._totals = 0, [0.0] * count
        self.returns: list[float] = []

    @property
    def seen(self) -> Any:
        """What all toys show now, batched."""
        return stacked(self._seen)

    def collect(self, learner: Learner, steps: int, version: int = 1, explore: bool = True) -> Batch:
        """Of each toy `steps` steps, chosen by the learner's policy, named `version`."""
        told = [_Told() for _ in self.toys]
        for _ in range(steps):
            actions = learner.act(self.seen, explore)
            for index, toy in enumerate(self.toys):
                following, reward, terminated, truncated, _ = toy.step(actions[index])
                self._totals[index] += reward
                told[index].add(self._seen[index], actions[index], reward, following, truncated)
                self._seen[index] = following
                if terminated or truncated:
                    self.returns.append(self._totals[index])
                    self._seen[index], self._totals[index] = toy.reset()[0], 0.0
        first = self._steps
        self._steps += steps
        return _batch(self.spaces, told, first, version)


def stacked(values: list[Any]) -> Any:
    """Values of one space, batched as Gymnasium batches them."""
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    return np.stack([np.asarray(value) for value in values])


class _Told:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.truncated: list[bool] = []
        self.runs: list[int] = []
        self._open = False

    def add(self, seen: Any, action: Any, reward: float, following: Any, truncated: bool) -> None:
        if not self._open:
            self.seen.append(seen)
            self.runs.append(0)
        self.seen.append(following)
        self.actions.append(action)
        self.rewards.append(reward)
        self.truncated.append(truncated)
        self.runs[-1] += 1
        self._open = not truncated


def _batch(spaces: Spaces, told: list[_Told], first: int, version: int) -> Batch:
    lengths = [length for one in told for length in one.runs]
    cars = [car for car, one in enumerate(told) for _ in one.runs]
    firsts = [first + int(np.sum(one.runs[:run])) for one in told for run in range(len(one.runs))]
    rewards = np.array([reward for one in told for reward in one.rewards], np.float32)
    truncated = np.array([cut for one in told for cut in one.truncated], bool)
    count = len(rewards)
    rows: AnyArray = to_rows(spaces.observation.space, stacked([value for one in told for value in one.seen]))
    return Batch(
        layout=spaces.layout,
        run_lengths=np.array(lengths, np.int32),
        run_cars=np.array(cars, np.int32),
        run_first_steps=np.array(firsts, np.int64),
        observations=rows,
        actions=to_rows(spaces.action.space, np.stack([action for one in told for action in one.actions])),
        rewards=rewards,
        terminated=np.zeros(count, bool),
        truncated=truncated,
        policy_versions=np.full(count, version, np.uint32),
        action_ages=np.zeros(count, np.float32),
        off_period=np.zeros(count, bool),
        episodes=tuple(EpisodeRecord(int(row), EPISODE, 0.0, "truncated") for row in np.flatnonzero(truncated)),
    )

"""Environments that write each of their steps into a file as it is made, so that a test knows what the PC did."""

import json
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Vector = np.ndarray[Any, np.dtype[np.float32]]
ACTIONS = 2.0


class Point(gymnasium.Env[Vector, Vector]):
    """A point on a line that is to be where a goal is; an episode takes 20 steps. No two steps are the same.

    `log` gets a line of JSON for each step: [observation, action, what it led to].
    """

    observation_space = spaces.Box(-4.0, 4.0, (2,), np.float32)
    action_space = spaces.Box(-ACTIONS, ACTIONS, (1,), np.float32)

    def __init__(self, log: str) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Vector, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._seen, self._steps = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32), 0
        return self._seen, {}

    def step(self, action: Vector) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        before = self._seen
        noise = self.np_random.normal(0.0, 0.01)
        self._seen = np.array([np.clip(before[0] + 0.2 * action[0] + noise, -4.0, 4.0), before[1]], np.float32)
        self._steps += 1
        line = json.dumps([before.tolist(), action.tolist(), self._seen.tolist()])
        os.write(self._log, f"{line}\n".encode())
        return self._seen, -float((self._seen[0] - self._seen[1]) ** 2), False, self._steps == 20, {}


Seen = dict[str, np.ndarray[Any, Any]]
FILMED = spaces.Dict({"image": spaces.Box(0, 255, (36, 40, 3), np.uint8), "line": spaces.Box(0.0, np.inf, (2,))})


def shown(life: int, count: int) -> Seen:
    """The observation of this number in the life of an environment."""
    image = np.random.default_rng([life, count]).integers(0, 256, (36, 40, 3), np.uint8)
    return {"image": image, "line": np.array([life, count], np.float32)}


class Filmed(gymnasium.Env[Seen, Any]):
    """Shows by a picture and two numbers how many observations it has shown; each 12th step ends an episode.

    Every other one is terminated, the others truncated. `log` gets a line of JSON for each step: [life, number of the
    observation before and after, action, whether terminated, whether truncated].
    """

    observation_space: spaces.Space[Any] = FILMED

    def __init__(self, log: str, discrete: bool) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-ACTIONS, ACTIONS, (1,), np.float32)
        self._life, self._count, self._episodes = int.from_bytes(os.urandom(2)), 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Seen, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps, self._count, self._episodes = 0, self._count + 1, self._episodes + 1
        return shown(self._life, self._count), {}

    def step(self, action: Any) -> tuple[Seen, float, bool, bool, dict[str, Any]]:
        self._count, self._steps = self._count + 1, self._steps + 1
        over, fails = self._steps == 12, self._episodes % 2 == 0
        said = [self._life, self._count - 1, self._count, np.ravel(action).tolist(), over and fails, over and not fails]
        os.write(self._log, f"{json.dumps(said)}\n".encode())
        return shown(self._life, self._count), float(np.mean(action)), over and fails, over and not fails, {}

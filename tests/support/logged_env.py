"""An environment that writes each of its steps into a file as it is made, so that a test knows what the PC did."""

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

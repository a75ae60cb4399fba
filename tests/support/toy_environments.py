"""Small environments of one's own, which write down what they hand out, and can misbehave at a step of theirs.

The file that $TOY_LOG names gets one line of JSON a step: the observation that the action was chosen on, the action as
it came, the reward, what it led to, whether it ended; numbers as exact as float64 is.
"""

import json
import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_STEPS = 20
PERIOD = 0.05
"""Of what paces itself, s."""


class Reach(gymnasium.Env[np.ndarray[Any, Any], Any]):
    """A point that moves by a tenth of the action; -|distance| is the reward. Observed: (place, noise, 1) float32."""

    observation_space: spaces.Space[Any] = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space: spaces.Space[Any] = spaces.Box(np.float32(-0.5), np.float32(2.0), (1,), np.float32)
    fails_at = -1
    """A step of this environment's life that raises; $TOY_FAILS_AT says it, too. $TOY_HANGS_AT is one that hangs."""

    def __init__(self) -> None:
        self._random = np.random.default_rng()
        self._lived, self._seen = 0, np.zeros(3, np.float32)
        self._fails_at = int(os.environ.get("TOY_FAILS_AT", self.fails_at))
        self._hangs_at = int(os.environ.get("TOY_HANGS_AT", -1))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._place, self._steps = self._random.uniform(-1.0, 1.0), 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        self._lived, self._steps = self._lived + 1, self._steps + 1
        if self._lived == self._fails_at:
            raise RuntimeError("the wheel came off")
        if self._lived == self._hangs_at:
            time.sleep(3600.0)
        before, said = self._seen.tolist(), np.asarray(action).tolist()
        self._place += 0.1 * self._move(action)
        reward, there, late = -abs(self._place), abs(self._place) < 0.02, self._steps >= EPISODE_STEPS
        self._look()
        if (path := os.environ.get("TOY_LOG")) is not None:
            with open(path, "a") as log:  # noqa: PTH123 - an environment is written as people write them
                log.write(json.dumps([before, said, reward, self._seen.tolist(), there, late]) + "\n")
        # The same array each time, and whatever was done to the action is the environment's own affair.
        if isinstance(action, np.ndarray):
            action *= 0.0
        return self._seen, reward, there, late, {}

    def _move(self, action: Any) -> float:
        return float(action[0])

    def _look(self) -> np.ndarray[Any, Any]:
        self._seen[:] = self._place, self._random.normal(), 1.0
        return self._seen


class Picking(Reach):
    """The same with a choice: -2 moves left, -1 stays, 0 moves right."""

    action_space = spaces.Discrete(3, start=-2)

    def _move(self, action: Any) -> float:
        assert isinstance(action, np.int64)
        return float(action) + 1.0


class Gridded(Reach):
    """The same on grids."""

    metadata = {"ac_training": {"observation_step": 2.0**-8, "action_step": 2.0**-4}}  # noqa: RUF012 - as Gymnasium has it


class Paced(Reach):
    """The same, in a time of its own: a step lasts until the next frame."""

    metadata = {"ac_training": {"self_paced": True}}  # noqa: RUF012 - as Gymnasium has it
    _next = 0.0

    def step(self, action: Any) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        self._next = max(self._next, time.monotonic()) + PERIOD
        while time.monotonic() < self._next:
            time.sleep(0.001)
        observation, reward, there, late, _ = super().step(action)
        return observation, reward, there, late, {"off_period": self._lived % 10 == 0}


class Images(Reach):
    """What no policy on a PC takes."""

    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)


class Cells(Reach):
    """Neither this."""

    observation_space = spaces.Discrete(4)


class Misnamed(Reach):
    """Declares what nobody knows."""

    metadata = {"ac_training": {"observation_setp": 0.25}}  # noqa: RUF012 - as Gymnasium has it

"""The environment of the checks: it counts, so that a step which is done twice or not at all is seen.

Observation: Box(0, inf, (1,), float64), steps since the reset. Actions, Discrete(3): 0 steps; 1 raises an error whose
text holds "asked to raise", and does not step; 2 waits for 1 s, then steps. The reward is 0.5, an episode never ends,
and `info` holds `{"total": n}`, all steps since the environment was made; that of reset, too.
"""

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

NAME = "tests.conformance.counter:Counter"


class Counter(gymnasium.Env[np.ndarray[Any, Any], np.int64]):
    """See above."""

    observation_space = spaces.Box(0, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self._steps = self._total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._seen(), {"total": self._total}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action == 1:
            raise RuntimeError("asked to raise")
        if action == 2:
            time.sleep(1.0)
        self._steps, self._total = self._steps + 1, self._total + 1
        return self._seen(), 0.5, False, False, {"total": self._total}

    def _seen(self) -> np.ndarray[Any, Any]:
        return np.array([self._steps], np.float64)

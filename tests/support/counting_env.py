"""An environment that counts its steps, and can misbehave when its action says so."""

import threading
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS: dict[str, int] = {}
"""Steps made in this process, by the name that each environment was made with."""
RELEASED = threading.Event()


class Counting(gymnasium.Env[np.ndarray[Any, Any], np.int64]):
    """Shows how many steps it has made.

    Actions: 0 steps, 1 raises, 2 hangs until RELEASED, 5 shows NaN, 6 is worth NaN, 7 ends by NaN.
    """

    observation_space = spaces.Box(0, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(8)

    def __init__(self, name: str = "") -> None:
        self._name, self._seen = name, np.zeros(1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._seen[:] = 0.0
        return self._seen, {}

    def step(self, action: np.int64) -> tuple[np.ndarray[Any, Any], float, bool, bool, dict[str, Any]]:
        if action == 1:
            raise RuntimeError("the wheel came off")
        if action == 2:
            RELEASED.wait(60.0)
        info: dict[str, Any] = {"thing": object()} if action == 3 else {}
        STEPS[self._name] = STEPS.get(self._name, 0) + 1
        # The same array is handed out each time, as many environments do.
        self._seen[0] = {4: -1.0, 5: np.nan, 7: np.nan}.get(int(action), self._seen[0] + 1.0)
        return self._seen, np.nan if action == 6 else 1.0, bool(action == 7), False, info

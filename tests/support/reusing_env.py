"""An environment that hands out the same arrays, lists and dictionaries each time, as fast ones do."""

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Reusing(gymnasium.Env[Any, Any]):
    """Ends now and then, terminated, truncated or both; its infos hold whatever infos may, and not always the same.

    With `fresh` it hands out copies instead, so that whoever compares knows what was meant.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it
    observation_space = spaces.Dict(
        camera=spaces.Box(0, 255, (4, 3), np.uint8), place=spaces.Box(-np.inf, np.inf, (2,), np.float64)
    )
    action_space = spaces.Discrete(3, start=-1)

    def __init__(self, fresh: bool = False, render_mode: str | None = None) -> None:
        self._fresh, self.render_mode = fresh, render_mode
        self._steps = self._episodes = 0
        self._seen: dict[str, Any] = {"camera": np.zeros((4, 3), np.uint8), "place": np.zeros(2)}
        self._events: list[str] = []
        self._deep: dict[str, Any] = {"speed": np.float32(0), "wheels": np.zeros(4, np.int16), "gone": []}
        self._info: dict[str, Any] = {"events": self._events, "deep": self._deep, "name": "Reusing", "none": None}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps, self._episodes = 0, self._episodes + 1
        self._events.clear()
        self._deep["gone"].clear()
        self._info["options"] = repr(options)
        self._info.pop("odd", None)
        return self._shown()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._events.append(f"step {self._steps}")
        self._deep["gone"].append(self._steps)
        self._deep["speed"] = np.float32(self._steps) / np.float32(3)
        self._deep["wheels"] += 1
        self._info.pop("options", None)
        self._info.pop("odd", None)
        if self._steps % 2:
            self._info["odd"] = self._steps
        ends = int(self.np_random.integers(8))
        observation, info = self._shown()
        return observation, float(action) + 1 / 3, ends in (0, 2), ends in (1, 2), info

    def render(self) -> Any:
        return np.full((4, 4, 3), self._steps, np.uint8)

    def _shown(self) -> tuple[Any, dict[str, Any]]:
        self._seen["camera"][:] = (10 * self._episodes + self._steps) % 256
        self._seen["place"][:] = self.np_random.random(2)
        return copy.deepcopy((self._seen, self._info)) if self._fresh else (self._seen, self._info)

"""An interface as people write them for rtgym, by the names that its base class has; $TOY_LOG gets the calls."""

import os
import time
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from examples.rtgym_interface import RealTime


class Ball:
    """A ball that goes on at the speed that it was told, until the next."""

    def __init__(self) -> None:
        self._place = self._speed = self._told_at = 0.0

    def get_observation_space(self) -> Any:
        box = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        return spaces.Tuple((box, box, spaces.Discrete(2)))

    def get_action_space(self) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (1,), np.float32)

    def get_default_action(self) -> Any:
        return np.array([0.0], np.float32)

    def send_control(self, control: Any) -> None:
        if control is not None:
            self._place, self._speed, self._told_at = self._now(), float(control[0]), time.perf_counter()
            self._log(f"send {self._speed}")

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[list[Any], dict[str, Any]]:  # noqa: ARG002 - rtgym's
        self._log("reset")
        self._place, self._told_at = 0.0, time.perf_counter()
        return self._seen(), {}

    def get_obs_rew_terminated_info(self) -> tuple[list[Any], Any, Any, dict[str, Any]]:
        seen = self._seen()
        return seen, np.float32(-abs(seen[0][0])), np.bool_(False), {}

    def wait(self) -> None:
        self._log("wait")

    def _now(self) -> float:
        return self._place + self._speed * (time.perf_counter() - self._told_at)

    def _seen(self) -> list[Any]:
        place = self._now()
        return [np.array([place], np.float32), np.array([self._speed], np.float32), int(place > 0.0)]

    def _log(self, line: str) -> None:
        if (path := os.environ.get("TOY_LOG")) is not None:
            with open(path, "a") as log:  # noqa: PTH123 - an interface is written as people write them
                log.write(f"{line}\n")


PERIOD, EPISODE_STEPS = 0.02, 25
Env = partial(RealTime, Ball, period=PERIOD, episode_steps=EPISODE_STEPS, last_actions=2)

"""Drives what was written for rtgym, a class of the shape of its RealTimeGymInterface, without rtgym.

Copy this file beside yours, and add two lines to yours (the run's `environment` then names `my_game:Env`):

    from rtgym_interface import RealTime
    Env = functools.partial(RealTime, MyInterface, period=0.05, episode_steps=1000)

    ac-bridge drive --env my_game:Env

`period` and `episode_steps` are rtgym's time_step_duration and ep_max_length. What differs from rtgym: an action is
applied as soon as it is chosen, held for a period, and then looked at, so that none is on its way when the next is
chosen. Where your device answers later than that, `last_actions` (rtgym's act_buf_len) puts so many into what is seen.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]

TOLERANCE = 0.01
"""s, by how much a step may last longer than its period."""


class RealTime(gymnasium.Env[Array, Array]):
    """What `interface` makes, as an environment that paces itself; its Tuple of observations becomes one row."""

    metadata = {"ac_training": {"self_paced": True}}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self, interface: Callable[[], Any], period: float, episode_steps: int | None = None, last_actions: int = 0
    ) -> None:
        self.interface, self._period, self._most = interface(), period, episode_steps
        self._deadline, self._steps = 0.0, 0
        self._actions: deque[Array] = deque(maxlen=last_actions)
        self.action_space = self.interface.get_action_space()
        seen = self.interface.get_observation_space()
        self._seen = spaces.Tuple((*seen.spaces, *(self.action_space,) * last_actions))
        row = spaces.flatten_space(self._seen)
        assert isinstance(row, spaces.Box), "Observations are a Tuple of Box, Discrete, MultiBinary or MultiDiscrete."
        self.observation_space = row

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Let go, begin anew, and look."""
        super().reset(seed=seed, options=options)
        idle = self.interface.get_default_action()
        self.interface.send_control(idle)
        self._actions.extend([idle] * (self._actions.maxlen or 0))
        seen, info = self.interface.reset(seed=seed, options=options)
        self._deadline, self._steps = time.perf_counter() + self._period, 0
        return self._row(seen), info

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Apply the action for a period, and look what came of it."""
        self.interface.send_control(action)
        self._actions.append(action)
        time.sleep(max(0.0, self._deadline - time.perf_counter()))
        now = time.perf_counter()
        off_period = now - self._deadline > TOLERANCE
        # A step that was late does not make the next one shorter: the game has gone on meanwhile.
        self._deadline = (now if off_period else self._deadline) + self._period
        seen, reward, terminated, info = self.interface.get_obs_rew_terminated_info()
        self._steps += 1
        truncated = not terminated and self._steps == self._most
        if terminated or truncated:
            self.interface.wait()
        return self._row(seen), float(reward), bool(terminated), truncated, info | {"off_period": off_period}

    def close(self) -> None:
        """Let go of the game."""
        self.interface.send_control(self.interface.get_default_action())
        self.interface.wait()

    def _row(self, seen: Any) -> Array:
        return np.asarray(spaces.flatten(self._seen, (*seen, *self._actions)))

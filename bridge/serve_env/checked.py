"""An environment whose observations are its caller's own, and whose values are looked at: are they of their spaces?"""

import copy
import logging
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space

from runtime.logs import fields

_log = logging.getLogger(__name__)


class OutsideSpace(ValueError):
    """A value is not of its declared space, and that is refused; the text says which."""


class Checked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """`env`, with copies of what it hands out: many write the next observation into the same array.

    What becomes of a value outside its space: "warn" says so once for each kind, "refuse" raises OutsideSpace,
    "pass" does nothing.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, outside: str) -> None:
        super().__init__(env)
        self._name, self._outside = name, outside
        self._warned: set[str] = set()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._look("observation", observation, self.env.observation_space)
        return _copied(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        self._look("action", action, self.env.action_space)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._look("observation", observation, self.env.observation_space)
        if terminated or truncated:
            # The next episode may begin before they have travelled, and write into the same ones.
            with suppress(Exception):
                info = copy.deepcopy(info)
        return _copied(observation), reward, terminated, truncated, info

    def _look(self, what: str, value: Any, space: Space[Any]) -> None:
        if self._outside == "pass" or space.contains(value) or (what in self._warned and self._outside == "warn"):
            return
        kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        problem = f"an {what} of {self._name} is not of its declared space {space}: {kind} {str(value)[:200]}"
        if self._outside == "refuse":
            raise OutsideSpace(f"{problem[0].upper()}{problem[1:]}. Mend the environment, or its space.")
        self._warned.add(what)
        _log.warning(f"{problem}; said once, and passed on", extra=fields(environment=self._name))


def _copied(value: Any) -> Any:
    return value.copy() if type(value) is np.ndarray and value.dtype != object else copy.deepcopy(value)

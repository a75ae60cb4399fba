"""An environment that hands out copies, and whose values are looked at: are they of their spaces?"""

import copy
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space, spaces

from runtime.logs import fields

_log = logging.getLogger(__name__)


class OutsideSpace(ValueError):
    """A value is not of its declared space, and that is refused; the text says which."""


class Checked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """`env`, with copies of its observations and last infos: many write what comes next into the same arrays.

    What becomes of a value outside its space: "warn" says so once for each kind, and raises OutsideSpace where even the
    shape is another; "refuse" always raises it, "pass" does nothing.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, outside: str) -> None:
        super().__init__(env)
        self._name, self._outside = name, outside
        # What the caller was told; asking the layers of wrappers for it each time takes longer than to look.
        self._of_observations, self._of_actions = env.observation_space, env.action_space
        self._warned: set[str] = set()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._look("observation", observation, self._of_observations)
        return _copied(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        self._look("action", action, self._of_actions)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._look("observation", observation, self._of_observations)
        if terminated or truncated:
            # A vector begins the next episode before this is on its way. What cannot be copied cannot travel either.
            with suppress(Exception):
                info = copy.deepcopy(info)
        return _copied(observation), reward, terminated, truncated, info

    def close(self) -> None:
        """Close it; whoever asked for that is rid of it in any case."""
        try:
            super().close()
        except BaseException:
            _log.exception("an environment raised when it was closed", extra=fields(environment=self._name))

    def _look(self, what: str, value: Any, space: Space[Any]) -> None:
        if self._outside == "pass" or _is_inside(value, space):
            return
        refused = self._outside == "refuse" or _misshapen(value, space)
        if what in self._warned and not refused:
            return
        kind = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        problem = f"an {what} of {self._name} is not of its declared space {space}: {kind} {str(value)[:200]}"
        if refused:
            raise OutsideSpace(f"{problem[0].upper()}{problem[1:]}. Mend the environment, or its space.")
        self._warned.add(what)
        _log.warning(f"{problem}; said once, and passed on", extra=fields(environment=self._name))


def _is_inside(value: Any, space: Space[Any]) -> bool:
    """Whether the value is of the space. Its own answer is the same, and takes four times as long."""
    if (
        type(space) is spaces.Box
        and type(value) is np.ndarray
        and value.dtype == space.dtype
        and value.shape == space.shape
    ):
        return b"\0" not in ((value >= space.low) & (value <= space.high)).tobytes()
    if type(space) is spaces.Discrete and type(value) is np.int64:
        return bool(space.start <= value < space.start + space.n)
    return space.contains(value)


def _misshapen(value: Any, space: Space[Any]) -> bool:
    """Whether the value has another shape than the space's, or other parts."""
    if isinstance(space, spaces.Dict):
        fits = isinstance(value, Mapping) and value.keys() == space.keys()
        return not fits or any(_misshapen(value[key], part) for key, part in space.items())
    if isinstance(space, spaces.Tuple):
        fits = isinstance(value, (tuple, list)) and len(value) == len(space)
        return not fits or any(map(_misshapen, value, space.spaces))
    return space.shape is not None and np.shape(value) != space.shape


def _copied(value: Any) -> Any:
    return value.copy() if type(value) is np.ndarray and value.dtype != object else copy.deepcopy(value)

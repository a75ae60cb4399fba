"""A single environment on somebody's PC, as a Gymnasium environment."""

from pathlib import Path
from typing import Any, Literal

import gymnasium

from experience.remote_calls import Make
from train_cloud.remote.stepping import MAKE_SECONDS, STEP_SECONDS, Stepping


class RemoteEnv(gymnasium.Env[Any, Any]):
    """`name`, made by a PC that offers it, and stepped there.

    Args:
        path: the receiver's socket in the run's folder.
        name: as the PC's `--env` names it.
        render_mode: Gymnasium's.
        outside: what becomes of values outside their space: "warn", "refuse" or "pass".
        step_seconds, make_seconds: how long an answer is waited for.
        kwargs: for who makes it.

    Every call raises RemoteEnvError. After one that is recoverable, `reset` begins anew, on a PC that has come back.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        render_mode: str | None = None,
        outside: Literal["warn", "refuse", "pass"] = "warn",
        step_seconds: float = STEP_SECONDS,
        make_seconds: float = MAKE_SECONDS,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        make = Make(name, kwargs or {}, render_mode=render_mode, outside=outside)
        self._stepping = Stepping(path, make, step_seconds, make_seconds)
        made = self._stepping.make()
        self.observation_space, self.action_space = made.spaces()
        self.metadata, self.render_mode = made.metadata, render_mode

    @property
    def call_seconds(self) -> tuple[float, float]:
        """Of the newest call, s: what was spent in the environment, and everything else: the way there and back."""
        return self._stepping.call_seconds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        observation, info = self._stepping.reset(seed, options)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step once, whatever happens to the link."""
        observation, reward, terminated, truncated, info = self._stepping.step(action)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """What the PC's environment renders."""
        return self._stepping.render()

    def close(self) -> None:
        """Have the PC close it."""
        self._stepping.close()

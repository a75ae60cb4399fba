"""A single environment on somebody's PC, as a Gymnasium environment."""

from pathlib import Path
from typing import Any, Literal

import gymnasium

from experience.remote_calls import Made, Make, Reset, body_of, read_body
from experience.values import pack, unpack
from train_cloud.remote.channel import Channel
from wire.messages import EnvAction

STEP_SECONDS = 30.0
"""An environment that has not come back from a step after so long is given up."""
MAKE_SECONDS = 300.0
"""Making and resetting a game may take its time, and a PC that is about to be connected is waited for."""


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
        **kwargs: Any,
    ) -> None:
        self._channel = Channel(path)
        self._make = Make(name, kwargs, render_mode=render_mode, outside=outside)
        self._step_seconds, self._make_seconds = step_seconds, make_seconds
        made = self._made()
        self.observation_space, self.action_space = made.spaces()
        self.metadata, self.render_mode = made.metadata, render_mode

    def _made(self) -> Made:
        return read_body(self._channel.call(EnvAction.MAKE, body_of(self._make), self._make_seconds), Made)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; where the PC's process is another one by now, in an environment that it makes anew."""
        super().reset(seed=seed)
        body = body_of(Reset(seed, options))
        observation, info = unpack(self._channel.call(EnvAction.RESET, body, self._make_seconds))
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step once, whatever happens to the link."""
        body = self._channel.call(EnvAction.STEP, pack(action), self._step_seconds)
        observation, reward, terminated, truncated, info = unpack(body)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """What the PC's environment renders."""
        return unpack(self._channel.call(EnvAction.RENDER, b"", self._step_seconds))

    def close(self) -> None:
        """Have the PC close it."""
        self._channel.call(EnvAction.CLOSE, b"", self._step_seconds)
        self._channel.close()

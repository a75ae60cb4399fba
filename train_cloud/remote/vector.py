"""Several environments on one PC, stepped at once: a vector step is one message each way."""

from pathlib import Path
from typing import Any, Literal

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from experience.remote_calls import Made, Make, Reset, body_of, read_body
from experience.values import pack, unpack
from train_cloud.remote.channel import Channel
from train_cloud.remote.env import MAKE_SECONDS, STEP_SECONDS
from wire.messages import EnvAction


class RemoteVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` environments `name`, made by a PC that offers them, and stepped there one after another.

    Arguments and errors are those of `train_cloud.remote.env.RemoteEnv`; `autoreset_mode` as Gymnasium's.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        outside: Literal["warn", "refuse", "pass"] = "warn",
        step_seconds: float = STEP_SECONDS,
        make_seconds: float = MAKE_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._channel = Channel(path)
        mode = AutoresetMode(autoreset_mode)
        self._make = Make(name, kwargs, num_envs, mode.value, render_mode, outside)
        self._step_seconds, self._make_seconds = step_seconds, make_seconds
        made = self._made()
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = made.metadata | {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = made.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def _made(self) -> Made:
        return read_body(self._channel.call(EnvAction.MAKE, body_of(self._make), self._make_seconds), Made)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, in all or where `options["reset_mask"]` says so."""
        gymnasium.vector.VectorEnv.reset(self, seed=seed if isinstance(seed, int) else None)
        body = body_of(Reset(seed, options))
        observations, infos = unpack(self._channel.call(EnvAction.RESET, body, self._make_seconds))
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all of them once."""
        body = self._channel.call(EnvAction.STEP, pack(actions), self._step_seconds)
        observations, rewards, terminations, truncations, infos = unpack(body)
        return observations, rewards, terminations, truncations, infos

    def render(self) -> tuple[Any, ...] | None:
        """What each of them renders."""
        rendered: tuple[Any, ...] | None = unpack(self._channel.call(EnvAction.RENDER, b"", self._step_seconds))
        return rendered

    def close_extras(self, **_: Any) -> None:
        """Have the PC close them."""
        self._channel.call(EnvAction.CLOSE, b"", self._step_seconds)
        self._channel.close()

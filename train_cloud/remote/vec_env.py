"""Several environments on one PC, as stable-baselines3 knows them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from train_cloud.remote.stepping import MAKE_SECONDS, STEP_SECONDS
from train_cloud.remote.vector import RemoteVectorEnv

_Indices = int | Iterable[int] | None
_KNOWN = ("observation_space", "action_space", "metadata", "render_mode")


class RemoteVecEnv(VecEnv):
    """`num_envs` environments `name`, made by a PC that offers them; an episode that ends begins anew in the same step.

    Arguments and errors are those of `train_cloud.remote.env.RemoteEnv`. After an error that is recoverable, `reset`
    begins new episodes. What its infos hold comes as Gymnasium's vectors have it: numbers as NumPy's.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        outside: Literal["warn", "refuse", "pass"] = "warn",
        step_seconds: float = STEP_SECONDS,
        make_seconds: float = MAKE_SECONDS,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._envs = RemoteVectorEnv(
            path,
            name,
            num_envs,
            autoreset_mode=AutoresetMode.SAME_STEP,
            render_mode=render_mode,
            outside=outside,
            step_seconds=step_seconds,
            make_seconds=make_seconds,
            kwargs=kwargs,
        )
        self._known = {"metadata": self._envs.metadata, "render_mode": render_mode}
        super().__init__(num_envs, self._envs.single_observation_space, self._envs.single_action_space)

    def reset(self) -> Any:
        """Begin episodes in all, with what `seed` and `set_options` were told; observations, (num_envs, ...)."""
        options = self._options[0]
        if any(one != options for one in self._options):
            raise ValueError(
                "One call resets all environments of the PC, so all of them get the same options: give set_options "
                "one dict."
            )
        seeds = [None if seed is None else int(seed) for seed in self._seeds]
        observations, infos = self._envs.reset(seed=seeds, options=options or None)
        self.reset_infos = _of_each(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Note the actions, (num_envs, ...)."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any], list[dict[str, Any]]]:
        """Step all of them once: observations, rewards (float32), whether episodes ended, and infos."""
        observations, rewards, terminations, truncations, vector_infos = self._envs.step(self._actions)
        infos = _of_each(vector_infos, self.num_envs)
        over = terminations | truncations
        for index in np.flatnonzero(over):
            begun = infos[index]
            infos[index] = begun.pop("final_info") | {"terminal_observation": begun.pop("final_obs")}
            self.reset_infos[index] = begun
        for info, cut in zip(infos, truncations & ~terminations, strict=True):
            info["TimeLimit.truncated"] = bool(cut)
        return observations, rewards.astype(np.float32), over, infos

    def close(self) -> None:
        """Have the PC close them."""
        self._envs.close()

    def get_images(self) -> list[Any]:
        """What each of them renders."""
        return list(self._envs.render() or ())

    def get_attr(self, attr_name: str, indices: _Indices = None) -> list[Any]:
        """Spaces, metadata or render_mode of each. Raises AttributeError for anything else."""
        if attr_name not in _KNOWN:
            raise AttributeError(
                f"{attr_name!r} is not known here: the environments are on a PC, and only their {', '.join(_KNOWN)} "
                "have come from there. Tell it in the infos of reset and step."
            )
        value = self._known[attr_name] if attr_name in self._known else getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: _Indices = None) -> None:  # noqa: ARG002 - the VecEnv interface has them
        """Raises AttributeError: nothing on the PC can be changed from here."""
        raise AttributeError(
            f"{attr_name!r} cannot be set: the environments are on a PC, where nothing is changed from here. Make them "
            "with other kwargs, or tell it in the options of reset."
        )

    def env_method(self, method_name: str, *args: Any, indices: _Indices = None, **kwargs: Any) -> list[Any]:
        """Only "render" can be called so. Raises AttributeError for anything else."""
        if method_name == "render" and not args and not kwargs:
            images = self.get_images()
            return [images[index] for index in self._get_indices(indices)]
        raise AttributeError(
            f"{method_name!r} cannot be called: the environments are on a PC, where only reset, step, render and close "
            "are called from here."
        )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: _Indices = None) -> list[bool]:  # noqa: ARG002 - the VecEnv interface has it
        """False for each: nothing is known of wrappers on the PC. VecMonitor records episodes on this side."""
        return [False for _ in self._get_indices(indices)]


def _of_each(infos: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A dict for each environment, of a vector's infos: what has a mask beside it, where the mask says so."""
    each: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, values in infos.items():
        parts = _of_each(values, count) if isinstance(values, dict) else values
        for index in np.flatnonzero(infos.get(f"_{key}", ())):
            each[index][key] = parts[index]
    return each

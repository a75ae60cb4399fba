"""Several environments on one PC, stepped at once: a vector step is one message each way."""

from pathlib import Path
from typing import Any, Literal

from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from experience.remote_calls import Make
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.stepping import MAKE_SECONDS, STEP_SECONDS, Stepping
from wire.messages import EnvErrorCode


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
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        mode = AutoresetMode(autoreset_mode)
        make = Make(name, kwargs or {}, num_envs, mode.value, render_mode, outside)
        self._name, self._refuses = name, outside == "refuse"
        self._stepping = Stepping(path, make, step_seconds, make_seconds)
        made = self._stepping.make()
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = made.metadata | {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = made.spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @property
    def call_seconds(self) -> tuple[float, float]:
        """Of the newest call, s: what was spent in the environment, and everything else: the way there and back."""
        return self._stepping.call_seconds

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, in all or where `options["reset_mask"]` says so."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        observations, infos = self._stepping.reset(seed, options)
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all of them once."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: Any) -> None:
        """Begin a step of all of them; there is time for other work until `step_wait`."""
        if self._refuses and not self.action_space.contains(actions):
            # The PC looks at one after the other, and would have stepped the first ones by then.
            text = f"An action of {self._name} is not of its declared space {self.single_action_space}: {actions}."
            raise RemoteEnvError(EnvErrorCode.OUTSIDE_SPACE, text)
        self._stepping.begin_step(actions)

    def step_wait(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """What the step that was begun returns."""
        observations, rewards, terminations, truncations, infos = self._stepping.stepped()
        return observations, rewards, terminations, truncations, infos

    def render(self) -> tuple[Any, ...] | None:
        """What each of them renders."""
        rendered: tuple[Any, ...] | None = self._stepping.render()
        return rendered

    def close_extras(self, **_: Any) -> None:
        """Have the PC close them."""
        self._stepping.close()

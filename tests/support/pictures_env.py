"""An environment that draws a picture of its own a step, in one array, and misbehaves when its action says so."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

NAME = f"{__name__}:Pictures"
RAISES, HANGS, UNSENDABLE, OUTSIDE = 1, 2, 3, 4


class Pictures(gymnasium.Env[Any, np.int64]):
    """Episodes of 1 to 9 steps.

    `seconds`: what a step takes, of one that takes no action but 0; `pids`: infos name the process; `mark`: a file that
    says when it hangs and is closed; `fails`: it cannot be made.
    """

    metadata = {"render_modes": ["rgb_array"], "odd": object()}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        seconds: float | None = None,
        pids: bool = False,
        mark: str | None = None,
        fails: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if fails:
            raise ValueError("there is no wheel")
        self.observation_space = spaces.Dict(
            {"seen": spaces.Box(0, 254, (16, 16, 3), np.uint8), "steps": spaces.Discrete(10)}
        )
        self.action_space = spaces.Discrete(5 if seconds is None else 1)
        self._seen, self._steps, self._lived = np.zeros((16, 16, 3), np.uint8), 0, 0
        self._seconds, self._pids, self._mark, self.render_mode = seconds, pids, mark, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self._steps, self._length = 0, int(self.np_random.integers(1, 10))
        return self._look(), {"begun": self._length, "options": str(options), **self._pid()}

    def step(self, action: np.int64) -> Any:
        if action == RAISES:
            raise RuntimeError("the wheel came off")
        if action == HANGS:
            self._note("hangs")
            threading.Event().wait()
        time.sleep(self._seconds or 0.0)
        self._steps, self._lived = self._steps + 1, self._lived + 1
        over, info = self._steps == self._length, {"lived": self._lived, **self._pid()}
        if self._steps % 2:
            info["odd"] = {"drawn": self._seen[:1, :1].copy(), "word": "left"}
        if action == UNSENDABLE:
            info["thing"] = lambda: None
        observation = self._look()
        if action == OUTSIDE:
            self._seen[:] = 255
        return observation, float(self.np_random.random()), over and self._length % 2 == 0, over, info

    def render(self) -> Any:
        return self._seen

    def close(self) -> None:
        self._note("closed")

    def _note(self, what: str) -> None:
        if self._mark is not None:
            with Path(self._mark).open("a") as mark:
                mark.write(f"{what}\n")

    def _pid(self) -> dict[str, Any]:
        return {"pid": os.getpid()} if self._pids else {}

    def _look(self) -> Any:
        self._seen[:] = self.np_random.integers(0, 255, self._seen.shape)
        return {"seen": self._seen, "steps": np.int64(self._steps)}

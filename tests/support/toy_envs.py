"""Environments of a few lines over any space: what they hand out and what came to them is known to the test.

Served by a PC in threads of this process, an Echo finds its space in SPACES and leaves the actions in TAKEN.
"""

import itertools
from typing import Any as Anything

import gymnasium
import numpy as np
from gymnasium import Space, spaces

SPACES: dict[str, Space[Anything]] = {}
TAKEN: dict[str, list[Anything]] = {}
LENGTH = 5
"""Steps of an episode."""


class Echo(gymnasium.Env[Anything, Anything]):
    """Observes samples of the space SPACES[key], acts in it too, and tells in its infos what came."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - as Gymnasium says it

    def __init__(self, key: str, render_mode: str | None = None) -> None:
        self._key, self.render_mode = key, render_mode
        self.observation_space = self.action_space = SPACES[key]

    def reset(self, *, seed: int | None = None, options: Anything = None) -> tuple[Anything, dict[str, Anything]]:
        super().reset(seed=seed)
        self._left = itertools.count(LENGTH, -1)
        self._reward = (options or {}).get("reward")
        return self._drawn(), {"options": options}

    def step(self, action: Anything) -> tuple[Anything, float, bool, bool, dict[str, Anything]]:
        # In a list: infos of a vector are arrays, and those of one shape only, unless they are something else.
        TAKEN.setdefault(self._key, []).append(action)
        reward = float(self.np_random.random()) if self._reward is None else self._reward
        return self._drawn(), reward, next(self._left) == 0, False, {"action": [action]}

    def render(self) -> Anything:
        return np.zeros((8, 8, 3), np.uint8)

    def _drawn(self) -> Anything:
        # A space of its own: what has been drawn from the shared one is its user's.
        space = SPACES[self._key]
        space.seed(int(self.np_random.integers(2**31)))
        return space.sample()


class Camera(Echo):
    """Two pictures and a few numbers at once."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__("camera", render_mode)
        self.action_space = spaces.Box(-1.0, 1.0, (2,))


SPACES["camera"] = spaces.Dict(
    front=spaces.Box(0, 255, (64, 48, 3), np.uint8),
    rear=spaces.Box(0, 255, (40, 40, 1), np.uint8),
    speed=spaces.Box(0.0, 1.0, (1,)),
)
SPACES["tuple"] = spaces.Tuple([spaces.Discrete(3, start=-1), spaces.Box(-1.0, 1.0, (2, 2), np.float64)])
SPACES["sequence"] = spaces.Sequence(spaces.Box(0.0, 1.0, (2,)))
SPACES["stacked"] = spaces.Sequence(spaces.Discrete(4), stack=True)
SPACES["graph"] = spaces.Graph(spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(3))
SPACES["one of"] = spaces.OneOf([spaces.Discrete(2), spaces.Box(0.0, 1.0, (3,))])
SPACES["text"] = spaces.Text(12, min_length=0, charset="abcä ")
TOYS = ("tuple", "sequence", "stacked", "graph", "one of", "text")

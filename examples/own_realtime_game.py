"""A template for a real-time game of one's own, played through its memory or its screen, and learned from in the cloud.

On the PC, in this folder (the run's `environment` is {"kind": "gymnasium", "id": "own_realtime_game:ByMemory"}):

    ac-bridge drive --env own_realtime_game:ByMemory
    ac-bridge drive --env own_realtime_game:ByScreen

`Game` stands in for yours: a ball rolls on a board, and a stick tilts the board. Replace it by what reaches your game:
its memory by `mmap` or the operating system's calls, its window by any package that copies a screen into an array, its
input by a virtual pad or keys. Everything else may stay: the game runs on by itself, `step` holds a stick for one
period and looks again, and says in `off_period` when a step was not a period, so that nobody learns from it.
"""

import threading
import time
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Array = npt.NDArray[Any]

PERIOD = 1.0 / 20.0
"""s, how long a step lasts."""
TOLERANCE = 0.01
"""s, by how much a step may last longer."""
EPISODE_SECONDS = 10.0
WIDTH, HEIGHT = 64, 8
"""Of the screen, pixels."""
SHRUNK = 32
"""So many numbers are made of a picture: a policy on the PC takes a vector."""


class Game:
    """A ball on a board: it runs at 100 pictures a second, whether anybody looks or not."""

    def __init__(self) -> None:
        self.memory: Array = np.zeros(2)
        """Place (-1 to 1) and speed (1/s), as a game keeps its state somewhere."""
        self.stick = 0.0
        self._ended = threading.Event()
        self._random = np.random.default_rng()
        threading.Thread(target=self._run, name="game", daemon=True).start()

    def restart(self, seed: int | None) -> None:
        """Put the ball somewhere at rest."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self.memory[:] = self._random.uniform(-0.5, 0.5), 0.0

    def picture(self) -> Array:
        """What the screen shows: (HEIGHT, WIDTH) uint8, a bright ball on black."""
        across = np.linspace(-1.0, 1.0, WIDTH)
        bright = np.exp(-(((across - self.memory[0]) / 0.08) ** 2))
        return np.repeat((255.0 * bright).astype(np.uint8)[None], HEIGHT, axis=0)

    def close(self) -> None:
        """End the game."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            place, speed = self.memory
            self.memory[:] = place + 0.01 * speed, speed + 0.01 * (2.0 * self.stick + place)


class ByMemory(gymnasium.Env[Array, Array]):
    """Sees the place and the speed as the game's memory holds them; moves a stick from -1 to 1."""

    # A stick has no more places than this, and numbers on a grid are half as long on their way.
    metadata = {"ac_training": {"self_paced": True, "action_step": 2.0**-7}}  # noqa: RUF012 - as Gymnasium says it
    observation_space: spaces.Box = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: spaces.Box = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.game = Game()
        self._deadline = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start anew, and look."""
        super().reset(seed=seed, options=options)
        self.game.stick = 0.0
        self.game.restart(seed)
        self._began = time.perf_counter()
        self._deadline = self._began + PERIOD
        return self.observe(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Hold the stick for a period, and look what came of it."""
        self.game.stick = float(action[0])
        time.sleep(max(0.0, self._deadline - time.perf_counter()))
        now = time.perf_counter()
        off_period = now - self._deadline > TOLERANCE
        # A step that was late does not make the next one shorter: the game has gone on meanwhile.
        self._deadline = (now if off_period else self._deadline) + PERIOD
        place = float(self.game.memory[0])
        lost, late = abs(place) > 1.0, now - self._began > EPISODE_SECONDS
        reward = -10.0 if lost else 1.0 - abs(place)
        return self.observe(), reward, lost, late, {"off_period": off_period}

    def observe(self) -> Array:
        """What the policy sees."""
        return self.game.memory.astype(np.float32)

    def close(self) -> None:
        """Let go of the game."""
        self.game.stick = 0.0
        self.game.close()


class ByScreen(ByMemory):
    """Sees the newest two pictures, each shrunk to a row of numbers from 0 to 1: one alone shows no speed."""

    observation_space = spaces.Box(0.0, 1.0, (2 * SHRUNK,), np.float32)

    def __init__(self) -> None:
        super().__init__()
        self._before = np.zeros(SHRUNK, np.float32)

    def observe(self) -> Array:
        """The picture before, and the newest."""
        picture = self.game.picture()
        now = picture.reshape(-1, SHRUNK, WIDTH // SHRUNK).mean(axis=(0, 2), dtype=np.float32) / np.float32(255.0)
        both = np.concatenate([self._before, now])
        self._before = now
        return both

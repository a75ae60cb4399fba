"""`python -m scripts.bench.pictures`: what the pictures of a vector's step weigh on the way from the PC, by zstandard.

The answers of the first steps by actions at random, as `serve-env` packs them. Times are of one core's own time.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import minigrid  # noqa: F401 - registers its environments
import zstandard
from gymnasium.vector import SyncVectorEnv
from minigrid.wrappers import ImgObsWrapper, RGBImgObsWrapper

from experience.values import pack
from scripts.bench.measuring import head, medians, options, row
from scripts.bench.setting import setting

LEVELS = (-1, 1, 3)
UPLINKS = (5, 20, 40)
"""Mbit/s."""


def _grid(tile: int | None) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make("MiniGrid-Empty-8x8-v0")
    return ImgObsWrapper(env if tile is None else RGBImgObsWrapper(env, tile_size=tile))  # type: ignore[no-any-return]  # untyped


CASES: tuple[tuple[str, Callable[[], gymnasium.Env[Any, Any]], int], ...] = (
    ("CarRacing, 96 x 96 x 3", partial(gymnasium.make, "CarRacing-v3"), 1),
    ("CarRacing, 96 x 96 x 3", partial(gymnasium.make, "CarRacing-v3"), 4),
    ("MiniGrid in colours, 64 x 64 x 3", partial(_grid, 8), 4),
    ("MiniGrid, 7 x 7 x 3", partial(_grid, None), 16),
)


def answers(make: Callable[[], gymnasium.Env[Any, Any]], count: int, steps: int) -> list[bytes]:
    """Bodies of the answers of so many steps."""
    envs = SyncVectorEnv([make] * count)
    envs.reset(seed=1)
    envs.action_space.seed(1)
    bodies = [pack(list(envs.step(envs.action_space.sample()))) for _ in range(steps)]
    envs.close()
    return bodies


def _microseconds(do: Callable[[bytes], bytes], bodies: list[bytes]) -> float:
    began = time.thread_time()
    for body in bodies:
        do(body)
    return (time.thread_time() - began) / len(bodies) * 1e6


def main() -> None:
    """Print the tables."""
    chosen = options(__doc__, steps=(100, "steps of each"), rounds=(5, "rounds"))
    print(setting("gymnasium", "minigrid", "zstandard", "numpy") + "\n")
    levels = [f"level {level}: bytes (µs to compress, to decompress)" for level in LEVELS]
    links = [f"steps/s over {link} Mbit/s" for link in UPLINKS]
    print(head("answer to a step", "environments", "bytes", *levels, *links))
    for name, make, count in CASES:
        bodies = answers(make, count, chosen.steps)
        raw, cells, least = sum(map(len, bodies)) / len(bodies), [], 0.0
        for level in LEVELS:
            compressed = [zstandard.compress(body, level) for body in bodies]
            size = sum(map(len, compressed)) / len(compressed)
            least = size if level == 1 else least
            times = medians(
                {
                    "compress": partial(_microseconds, partial(zstandard.compress, level=level), bodies),
                    "read": partial(_microseconds, zstandard.decompress, compressed),
                },
                chosen.rounds,
            )
            cells.append(f"{size:.0f} ({times['compress']:.0f}, {times['read']:.0f})")
        carried = [f"{link * 1e6 / 8 / raw:.0f}, compressed {link * 1e6 / 8 / least:.0f}" for link in UPLINKS]
        print(row(name, count, f"{raw:.0f}", *cells, *carried))


if __name__ == "__main__":
    main()

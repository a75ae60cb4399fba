"""Who steps the environments of scripts/bench/remote.py, each as its own documentation does it, and what a step costs.

`python -m scripts.bench.remote_rivals ADDRESS_FILE NAME COUNT` is RLMesh's server: it writes where it listens.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from runtime.files import write_private
from scripts.processes.crew import Crew
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv

LOCAL, ASYNC, OURS, RLMESH = "local", "AsyncVectorEnv", "this project", "RLMesh"
START_SECONDS = 60.0
_DIFFERENT_ACTIONS = 64
_SCHEDULER_CLOCK = 2
"""Of Linux's processor clocks of other processes: the exact one."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one vector step: seconds that passed, and of processor time in all processes that take part."""

    seconds: float
    cpu: float


class Rival:
    """Steps `env`, a vector or a single one, with `actions` in turn; `servers` are the processes behind it."""

    def __init__(self, env: Any, actions: list[Any], servers: Iterable[int] = ()) -> None:
        self._env, self._actions = env, actions
        self._single = not hasattr(env, "num_envs")
        env.reset(seed=0)
        self._processes = {os.getpid(), *(one for server in servers for one in family(server))}

    def step(self, count: int) -> None:
        """Make so many steps; a single environment whose episode ends is reset, as vectors do by themselves."""
        for index in range(count):
            _, _, terminated, truncated, _ = self._env.step(self._actions[index % len(self._actions)])
            if self._single and (terminated or truncated):
                self._env.reset()

    def cost(self, count: int) -> Cost:
        """What one of so many steps costs."""
        cpu, began = self._cpu(), time.perf_counter()
        self.step(count)
        return Cost((time.perf_counter() - began) / count, (self._cpu() - cpu) / count)

    def _cpu(self) -> float:
        return sum(time.clock_gettime((~process << 3) | _SCHEDULER_CLOCK) for process in self._processes)


def family(process: int) -> list[int]:
    """The process and all that it has started."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def actions_of(name: str, count: int) -> list[Any]:
    """What everybody does: for `count` environments of this name, or a single one."""
    env = gymnasium.make(name)
    space = env.action_space if count == 1 else gymnasium.vector.utils.batch_space(env.action_space, count)
    env.close()
    space.seed(1)
    return [space.sample() for _ in range(_DIFFERENT_ACTIONS)]


def rlmesh_is_there() -> bool:
    """Whether RLMesh is installed."""
    return importlib.util.find_spec("rlmesh") is not None


def local(name: str, count: int, opened: ExitStack) -> Rival:
    """In this process, one after another."""
    return _rival(gymnasium.make(name) if count == 1 else SyncVectorEnv(_makers(name, count)), name, count, opened)


def parallel(name: str, count: int, opened: ExitStack) -> Rival:
    """Gymnasium's own way of several processes, over shared memory."""
    env = AsyncVectorEnv(_makers(name, count))
    return _rival(env, name, count, opened, *(one.pid or 0 for one in env.processes))


def ours(name: str, count: int, opened: ExitStack, calls: Path, *processes: int) -> Rival:
    """Over the receiver whose socket is `calls`; `processes` are the receiver's and the bridge's."""
    env = RemoteEnv(calls, name) if count == 1 else RemoteVectorEnv(calls, name, count)
    return _rival(env, name, count, opened, *processes)


def rlmesh(name: str, count: int, opened: ExitStack, folder: Path, crew: Crew, proxied: Callable[[int], int]) -> Rival:
    """RLMesh, its server a process of its own; `proxied(port)` is the port that is dialled for the server's."""
    from rlmesh import numpy

    title = f"rlmesh-{name}-{count}"
    file = folder / f"{title}.txt"
    file.unlink(missing_ok=True)
    process = crew.start(title, "scripts.bench.remote_rivals", str(file), name, str(count))
    opened.callback(crew.end, title)
    wait_until(file.exists, "RLMesh's server listens", START_SECONDS)
    address = f"127.0.0.1:{proxied(int(file.read_text(encoding='utf-8')))}"
    made = numpy.RemoteEnv if count == 1 else numpy.RemoteVectorEnv
    return _rival(made(address, connect_timeout_seconds=START_SECONDS), name, count, opened, process)


def _makers(name: str, count: int) -> list[Callable[[], Any]]:
    return [lambda: gymnasium.make(name)] * count


def _rival(env: Any, name: str, count: int, opened: ExitStack, *servers: int) -> Rival:
    opened.callback(env.close)
    return Rival(env, actions_of(name, count), servers)


def main(file: Path, name: str, count: int) -> None:
    """Serve with RLMesh until told to end."""
    from rlmesh import EnvServer

    env = gymnasium.make(name) if count == 1 else SyncVectorEnv(_makers(name, count))
    server = EnvServer(env)
    server.start()
    write_private(file, server.address.rpartition(":")[2].encode())
    server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

"""`python -m scripts.bench.inference`: what driving costs on the gaming PC, beside torch and stable-baselines3.

One step is what the control loop computes between reading the car and applying the controls: observe, then the policy,
for one car and 2x256 units. The three runtimes get the same observations in turn, in one process, with one torch
thread. Imports are measured in fresh processes, sizes by the files of the installed distributions.
"""

import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from packaging.requirements import Requirement
from stable_baselines3 import SAC

from experience.environment import racing
from racing.driving import VectorDriving
from racing.policy import Policy
from racing.simulator import SimulatedCar
from racing.task import ACTION_STEP, OBSERVATION_SIZE, Float32Array, Task
from racing.track import Track
from scripts.bench.measuring import head, medians, options, row
from scripts.bench.setting import setting
from train_cloud.trainer.learning.export import export_policy
from train_cloud.trainer.learning.learners import SpacesOnly

ROOT = Path(__file__).parents[2]
IMPORTS = {
    "numpy (ours: the whole bridge)": "import bridge.driving.garage",
    "torch": "import torch",
    "stable-baselines3": "import stable_baselines3",
}


def step_times(steps: int, seed: int = 0) -> dict[str, npt.NDArray[np.float64]]:
    """(steps,) s of each step, by runtime; a different runtime at each step, so that all share the machine's moods."""
    torch.set_num_threads(1)
    model = SAC(
        "MlpPolicy", SpacesOnly(racing().spaces), seed=seed, device="cpu", policy_kwargs={"net_arch": [256, 256]}
    )
    task = Task(Track.generate(7))
    policy = Policy.from_bytes(export_policy(model, 1, racing().signature, ACTION_STEP), racing().signature)
    actor = model.policy.actor
    explore = np.random.default_rng(seed)

    def by_torch(observation: Float32Array) -> Float32Array:
        with torch.inference_mode():
            return actor(torch.from_numpy(observation), deterministic=True).numpy()  # type: ignore[no-any-return]  # stable-baselines3's actor says Any

    runtimes: dict[str, Callable[[Float32Array], Any]] = {
        "numpy (ours)": policy.act,
        "numpy (ours), exploring": lambda observation: policy.act(observation, explore),
        "torch, the actor alone": by_torch,
        "stable-baselines3 predict": lambda observation: model.predict(observation, deterministic=True),
        "observing alone": lambda observation: observation,
    }
    driving = VectorDriving(SimulatedCar(task.track, count=1, seed=seed), task)
    observation = driving.reset()
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for round_ in range(steps + steps // 10):
        memory = task.begin(driving.state)
        for name, act in runtimes.items():
            began = time.perf_counter()
            act(task.observe(driving.state, memory))
            took = time.perf_counter() - began
            if round_ >= steps // 10:
                times[name].append(took)
        # The car goes on, so that no runtime sees the same rows for ever.
        observation = driving.step(policy.act(observation, explore)).observation
    return {name: np.array(values) for name, values in times.items()}


def import_seconds(statement: str) -> float:
    """How long the import takes in a fresh process, without the interpreter's own start, s."""
    code = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def installed_bytes(requirements: list[str]) -> dict[str, int]:
    """Bytes on disk of each distribution that `requirements` need here, themselves included, by name."""
    sizes: dict[str, int] = {}
    waiting = [(Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here; run `make setup` first.") from None
        files = [found.locate_file(file) for file in found.files or ()]
        sizes[name] = sum(Path(str(file)).stat().st_size for file in files if Path(str(file)).is_file())
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in found.requires or ()]
    return sizes


def main() -> None:
    """Measure and print."""
    chosen = options(
        __doc__, steps=(5000, "measured steps of each runtime"), repeats=(7, "fresh processes for each import")
    )
    print(setting("numpy", "torch", "stable-baselines3") + "\n")
    print(head(f"one step, N=1, {OBSERVATION_SIZE}-256-256 (observe + policy)", "p50 us", "p99 us"))
    for name, values in step_times(chosen.steps).items():
        p50, p99 = np.percentile(values * 1e6, [50, 99])
        print(row(name, f"{p50:.0f}", f"{p99:.0f}"))
    print("\n" + head(f"import, fresh process, median of {chosen.repeats}", "ms"))
    imports = {name: partial(import_seconds, statement) for name, statement in IMPORTS.items()}
    for name, seconds in medians(imports, chosen.repeats).items():
        print(row(name, f"{seconds * 1e3:.0f}"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bridge = installed_bytes([*project["dependencies"], *project["optional-dependencies"]["bridge"]])
    print("\n" + head("installed size", "MB", "distributions"))
    for more in ([], ["torch"], ["stable-baselines3"]):
        sizes = bridge | installed_bytes(more)
        print(
            row(
                f"the same with {more[0]}" if more else "extra `bridge`", f"{sum(sizes.values()) / 1e6:.0f}", len(sizes)
            )
        )
    largest = sorted(bridge.items(), key=lambda item: -item[1])[:4]
    print("\nLargest of the bridge's: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in largest) + ".")


if __name__ == "__main__":
    main()

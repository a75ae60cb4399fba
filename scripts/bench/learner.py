"""`python -m scripts.bench.learner`: updates a second of the trainer's SAC beside stable-baselines3's own.

All learners get the same networks and transitions and take turns in one process, on one thread unless told otherwise;
figures are medians over the rounds, sampling included. The replay buffers are measured the same way. Markdown to
standard output.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from experience.environment import racing
from racing.task import ACTION_SIZE, OBSERVATION_SIZE
from scripts.bench.setting import setting
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.trainer.learning.arithmetic import choose_matrix_products
from train_cloud.trainer.learning.learners import SpacesOnly, make_algorithm
from train_cloud.trainer.learning.replay import PackedReplayBuffer

CASES = (([128, 128], 128), ([128, 128], 256), ([256, 256], 256))
ROWS = 50_000
BUCKET = BucketConfig(name="unused")


def transitions(count: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Made-up transitions with the task's sizes: observations, actions, rewards, next observations, terminated."""
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(count, OBSERVATION_SIZE)).astype(np.float32),
        rng.uniform(-1, 1, (count, ACTION_SIZE)).astype(np.float32),
        rng.normal(size=count).astype(np.float32),
        rng.normal(size=(count, OBSERVATION_SIZE)).astype(np.float32),
        rng.random(count) < 0.01,
    )


def stock(network: list[int], batch_size: int, device: str) -> SAC:
    """stable-baselines3's SAC as it comes, its own replay buffer filled."""
    made = SAC(
        "MlpPolicy",
        SpacesOnly(racing().spaces),
        buffer_size=ROWS,
        batch_size=batch_size,
        policy_kwargs={"net_arch": network},
        seed=0,
        device=device,
    )
    made.set_logger(Logger(folder=None, output_formats=[]))
    assert made.replay_buffer is not None
    columns = transitions(ROWS)
    replay = made.replay_buffer
    replay.observations[:, 0], replay.actions[:, 0], replay.rewards[:, 0] = columns[:3]
    replay.next_observations[:, 0], replay.dones[:, 0] = columns[3:]
    replay.full = True
    return made


def ours(network: list[int], batch_size: int, device: str) -> SAC:
    """The trainer's algorithm, its replay buffer filled."""
    made = make_algorithm(
        RunConfig(
            run_id="bench", bucket=BUCKET, network=network, batch_size=batch_size, buffer_size=ROWS, device=device
        ),
        racing().spaces,
    )
    assert isinstance(made, SAC)
    assert isinstance(made.replay_buffer, PackedReplayBuffer)
    made.replay_buffer.insert(*transitions(ROWS))
    return made


def measured(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number > 0:  # the first round warms up
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def bench_updates(network: list[int], batch_size: int, chosen: str, options: argparse.Namespace) -> dict[str, float]:
    """Updates a second of stock, ours, and ours with the matrix products that the trainer chooses."""
    precision: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    default = precision.fp32_precision
    theirs, mine = stock(network, batch_size, options.device), ours(network, batch_size, options.device)

    def train(learner: SAC, products: str) -> None:
        precision.fp32_precision = products
        learner.train(gradient_steps=options.updates, batch_size=batch_size)
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        precision.fp32_precision = default

    times = measured(
        {
            "stable-baselines3": lambda: train(theirs, default),
            "FastSAC": lambda: train(mine, default),
            "FastSAC + chosen products": lambda: train(mine, chosen),
        },
        options.rounds,
    )
    return {name: options.updates / seconds for name, seconds in times.items()}


def bench_replay(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds to insert 100 steps and to sample 256 transitions, for both buffers."""
    env = SpacesOnly(racing().spaces)
    theirs = ReplayBuffer(ROWS, env.observation_space, env.action_space, device="cpu")
    mine = PackedReplayBuffer(ROWS, env.observation_space, env.action_space, device="cpu")
    mine.insert(*transitions(ROWS))
    theirs.full = True
    columns = transitions(100)

    def add_one_by_one() -> None:
        for row in range(100):
            observation, action, reward, following, done = (column[row : row + 1] for column in columns)
            theirs.add(observation, following, action, reward, done, [{}])

    calls: dict[str, Callable[[], None]] = {
        "insert 100|stable-baselines3": add_one_by_one,
        "insert 100|packed rows": lambda: mine.insert(*columns),
        "sample 256|stable-baselines3": lambda: _discard(theirs.sample(256)),
        "sample 256|packed rows": lambda: _discard(mine.sample(256)),
    }
    table: dict[str, dict[str, float]] = {}
    for name, seconds in measured(calls, 20 * rounds).items():
        what, who = name.split("|")
        table.setdefault(what, {})[who] = 1e6 * seconds
    return table


def _discard(_: object) -> None:
    """Let a result go."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1, help="torch's CPU threads")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each learner")
    parser.add_argument("--updates", type=int, default=40, help="updates in one turn")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = _chosen_precision()

    print(
        f"{setting('torch', 'stable-baselines3')}\n\n"
        f"SAC updates/s, {OBSERVATION_SIZE} observations, {options.threads} thread(s) on {options.device}\n"
    )
    print("| network | batch | stable-baselines3 | FastSAC | ratio | FastSAC + chosen products | ratio |")
    print("|---|---|---|---|---|---|---|")
    for network, batch_size in CASES:
        rates = bench_updates(network, batch_size, chosen, options)
        base, fast, faster = rates.values()
        print(
            f"| {'x'.join(map(str, network))} | {batch_size} | {base:.0f} | {fast:.0f} | {fast / base:.2f} | "
            f"{faster:.0f} | {faster / base:.2f} |"
        )
    print("\n| replay, µs | stable-baselines3 | packed rows | ratio |\n|---|---|---|---|")
    for what, row in bench_replay(options.rounds).items():
        theirs, mine = row.values()
        print(f"| {what} | {theirs:.0f} | {mine:.0f} | {theirs / mine:.1f} |")


def _chosen_precision() -> str:
    """The switch's value that the trainer would choose on this machine; the switch is left as it was."""
    precision: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = precision.fp32_precision
    choose_matrix_products()
    chosen = str(precision.fp32_precision)
    precision.fp32_precision = before
    return chosen


if __name__ == "__main__":
    main()

"""`python -m scripts.bench.learner`: updates a second of the trainer's SAC beside stable-baselines3's own.

All learners get the same networks and transitions and take turns in one process, on one thread unless told otherwise;
figures are medians over the rounds, sampling included. The replay buffers are measured the same way.
"""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from experience.environment import racing
from racing.task import ACTION_SIZE, OBSERVATION_SIZE
from scripts.bench.measuring import head, medians, options, row, seconds_of
from scripts.bench.setting import setting
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.trainer.learning.arithmetic import choose_matrix_products
from train_cloud.trainer.learning.learners import SpacesOnly, make_algorithm
from train_cloud.trainer.learning.replay import PackedReplayBuffer

CASES = (([128, 128], 128), ([128, 128], 256), ([256, 256], 256))
ROWS = 50_000
MATRIX_PRODUCTS: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch's own stubs lack it


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


def stock(network: list[int], device: str) -> SAC:
    """stable-baselines3's SAC as it comes, its own replay buffer filled."""
    nets = {"net_arch": network}
    made = SAC("MlpPolicy", SpacesOnly(racing().spaces), buffer_size=ROWS, policy_kwargs=nets, seed=0, device=device)
    made.set_logger(Logger(folder=None, output_formats=[]))
    assert made.replay_buffer is not None
    columns = transitions(ROWS)
    replay = made.replay_buffer
    replay.observations[:, 0], replay.actions[:, 0], replay.rewards[:, 0] = columns[:3]
    replay.next_observations[:, 0], replay.dones[:, 0] = columns[3:]
    replay.full = True
    return made


def ours(network: list[int], device: str) -> SAC:
    """The trainer's algorithm, its replay buffer filled."""
    bucket = BucketConfig(name="unused")
    run = RunConfig(run_id="bench", bucket=bucket, network=network, buffer_size=ROWS, device=device)
    made = make_algorithm(run, racing().spaces)
    assert isinstance(made, SAC)
    assert isinstance(made.replay_buffer, PackedReplayBuffer)
    made.replay_buffer.insert(*transitions(ROWS))
    return made


def bench_updates(network: list[int], batch_size: int, chosen: str, wanted: Namespace) -> list[float]:
    """Updates a second of stock, ours, and ours with the matrix products that the trainer chooses."""
    default = MATRIX_PRODUCTS.fp32_precision
    theirs, mine = stock(network, wanted.device), ours(network, wanted.device)

    def train(learner: SAC, products: str) -> None:
        MATRIX_PRODUCTS.fp32_precision = products
        learner.train(gradient_steps=wanted.updates, batch_size=batch_size)
        if wanted.device.startswith("cuda"):
            torch.cuda.synchronize()
        MATRIX_PRODUCTS.fp32_precision = default

    turns = {"stable-baselines3": (theirs, default), "FastSAC": (mine, default), "FastSAC + chosen": (mine, chosen)}
    times = medians({name: partial(seconds_of, partial(train, *turn)) for name, turn in turns.items()}, wanted.rounds)
    return [wanted.updates / seconds for seconds in times.values()]


def bench_replay(rounds: int) -> list[tuple[str, float, float]]:
    """What is done, and its microseconds in stable-baselines3's buffer and in packed rows."""
    env = SpacesOnly(racing().spaces)
    theirs = ReplayBuffer(ROWS, env.observation_space, env.action_space, device="cpu")
    mine = PackedReplayBuffer(ROWS, env.observation_space, env.action_space, device="cpu")
    mine.insert(*transitions(ROWS))
    theirs.full = True
    columns = transitions(100)

    def add_one_by_one() -> None:
        for at in range(100):
            observation, action, reward, following, done = (column[at : at + 1] for column in columns)
            theirs.add(observation, following, action, reward, done, [{}])

    def compared(what: str, *calls: Callable[[], object]) -> tuple[str, float, float]:
        their_time, my_time = medians({call: partial(seconds_of, call) for call in calls}, 20 * rounds).values()
        return what, 1e6 * their_time, 1e6 * my_time

    return [
        compared("insert 100", add_one_by_one, lambda: mine.insert(*columns)),
        compared("sample 256", lambda: theirs.sample(256), lambda: mine.sample(256)),
    ]


def main() -> None:
    """Measure and print."""
    wanted = options(
        __doc__,
        threads=(1, "torch's CPU threads"),
        rounds=(9, "turns of each learner"),
        updates=(40, "updates in one turn"),
        device=("cpu", "cpu or cuda"),
    )
    torch.set_num_threads(wanted.threads)
    default = MATRIX_PRODUCTS.fp32_precision
    choose_matrix_products()
    chosen, MATRIX_PRODUCTS.fp32_precision = MATRIX_PRODUCTS.fp32_precision, default

    print(
        f"{setting('torch', 'stable-baselines3')}\n\n"
        f"SAC updates/s, {OBSERVATION_SIZE} observations, {wanted.threads} thread(s) on {wanted.device}\n"
    )
    print(head("network", "batch", "stable-baselines3", "FastSAC", "ratio", "FastSAC + chosen products", "ratio"))
    for network, batch_size in CASES:
        base, fast, faster = bench_updates(network, batch_size, chosen, wanted)
        ratios = (f"{fast / base:.2f}", f"{faster:.0f}", f"{faster / base:.2f}")
        print(row("x".join(map(str, network)), batch_size, f"{base:.0f}", f"{fast:.0f}", *ratios))
    print("\n" + head("replay, µs", "stable-baselines3", "packed rows", "ratio"))
    for what, theirs, mine in bench_replay(wanted.rounds):
        print(row(what, f"{theirs:.0f}", f"{mine:.0f}", f"{theirs / mine:.1f}"))


if __name__ == "__main__":
    main()

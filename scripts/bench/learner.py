"""`python -m scripts.bench.learner`: updates a second of the trainer's SAC and XQC beside stable-baselines3's SAC.

All learners get the same networks and transitions and take turns in one process, on the device that is found and with
one and two of torch's CPU threads unless told otherwise; figures are medians over the rounds, sampling included. The
replay buffers are measured the same way.
"""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from experience.environment import racing
from racing.task import ACTION_SIZE, OBSERVATION_SIZE
from scripts.bench.measuring import head, medians, options, row, seconds_of
from scripts.bench.setting import setting
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.trainer.learning.learners import SpacesOnly, make_learner
from train_cloud.trainer.learning.replay import PackedReplayBuffer

CASES = (([64, 64], 128), ([128, 128], 256), ([256, 256], 256), ([256, 256], 512))
GOAL = 2.4
"""Times stable-baselines3's updates a second that the trainer's SAC is to make, of 256x256."""
ROWS = 50_000

Train = Callable[[int, int], object]
"""Makes so many updates of batches of such a size."""


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


def plain(model: SAC) -> Train:
    """SAC's update of this model as a page of torch has it: modules, `backward`, `Adam.step`; nothing read back."""
    actor, critic, targets, log_coefficient = model.actor, model.critic, model.critic_target, model.log_ent_coef
    assert model.replay_buffer is not None
    assert log_coefficient is not None
    replay, optimizers = model.replay_buffer, [actor.optimizer, critic.optimizer, model.ent_coef_optimizer]

    def step(optimizer: Any, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()

    def update(batch_size: int) -> None:
        batch = replay.sample(batch_size)
        actions, log_prob = actor.action_log_prob(batch.observations)
        coefficient = log_coefficient.detach().exp()
        step(optimizers[2], -(log_coefficient * (log_prob.detach().mean() + float(model.target_entropy))).sum())
        with torch.no_grad():
            next_actions, next_log_prob = actor.action_log_prob(batch.next_observations)
            least = torch.cat(targets(batch.next_observations, next_actions), 1).amin(1, keepdim=True)
            following = least - coefficient * next_log_prob[:, None]
            target = batch.rewards + (1 - batch.dones) * model.gamma * following
        told = critic(batch.observations, batch.actions)
        step(optimizers[1], 0.5 * torch.stack([F.mse_loss(one, target) for one in told]).sum())
        least = torch.cat(critic(batch.observations, actions), 1).amin(1)
        step(optimizers[0], (coefficient * log_prob - least).mean())
        with torch.no_grad():
            for mine, its in zip(targets.parameters(), critic.parameters(), strict=True):
                mine.lerp_(its, model.tau)

    def train(updates: int, batch_size: int) -> None:
        for _ in range(updates):
            update(batch_size)

    return train


def ours(method: str, network: list[int], batch_size: int, device: str, precision: Any = "float32") -> Train:
    """The trainer's learner, its replay buffer filled."""
    bucket = BucketConfig(name="unused")
    settings: dict[str, Any] = {"method": method, "network": network, "batch_size": batch_size, "precision": precision}
    run = RunConfig(run_id="bench", bucket=bucket, buffer_size=ROWS, device=device, **settings)
    made = make_learner(run, racing())
    replay = getattr(made, "replay", None)
    assert isinstance(replay, PackedReplayBuffer)
    replay.insert(*transitions(ROWS))
    return lambda updates, _: made.update(updates)


def bench_updates(network: list[int], batch_size: int, wanted: Namespace) -> dict[str, float]:
    """Updates a second, by learner."""
    device = wanted.device
    learners: dict[str, Train] = {
        "stable-baselines3": stock(network, device).train,
        "plain torch": plain(stock(network, device)),
        "sac": ours("sac", network, batch_size, device),
        "sac, bfloat16": ours("sac", network, batch_size, device, "bfloat16"),
        "xqc": ours("xqc", network, batch_size, device),
        "xqc, bfloat16": ours("xqc", network, batch_size, device, "bfloat16"),
    }

    def turn(train: Train) -> None:
        train(wanted.updates, batch_size)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    calls = {name: partial(seconds_of, partial(turn, train)) for name, train in learners.items()}
    return {name: wanted.updates / seconds for name, seconds in medians(calls, wanted.rounds).items()}


def verdict(network: list[int], ratio: float) -> str:
    """Whether the goal is kept, where there is one."""
    return "-" if network != [256, 256] else "kept" if ratio >= GOAL else "missed"


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
    found = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = options(
        __doc__,
        threads=((1, 2), "torch's CPU threads, one table each"),
        rounds=(9, "turns of each learner"),
        updates=(40, "updates in one turn"),
        device=(found, "cpu or cuda; left out, what is found"),
    )
    named = torch.cuda.get_device_name() if wanted.device.startswith("cuda") else "the CPU"
    print(setting("torch", "stable-baselines3"))
    for threads in wanted.threads:
        torch.set_num_threads(threads)
        print(
            f"\nUpdates/s, {OBSERVATION_SIZE} observations, {threads} thread(s) on {named}, and how many times "
            f"stable-baselines3's; the goal of {GOAL} is for sac of 256x256\n"
        )
        for number, (network, batch_size) in enumerate(CASES):
            rates = bench_updates(network, batch_size, wanted)
            base = rates["stable-baselines3"]
            if not number:
                print(head("network", "batch", *rates, "goal"))
            cells = [f"{rate:.0f} ({rate / base:.2f})" for rate in rates.values()]
            print(row("x".join(map(str, network)), batch_size, *cells, verdict(network, rates["sac"] / base)))
    print("\n" + head("replay, µs", "stable-baselines3", "packed rows", "ratio"))
    for what, theirs, mine in bench_replay(wanted.rounds):
        print(row(what, f"{theirs:.0f}", f"{mine:.0f}", f"{theirs / mine:.1f}"))


if __name__ == "__main__":
    main()

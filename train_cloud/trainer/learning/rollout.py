"""The steps of one policy that PPO learns from, and what they were worth, in stable-baselines3's rollout buffer.

Cars are told apart, and what a car did in one batch goes on in the next. Where an episode was cut off, where steps are
missing and where a rollout ends, the value of what was really observed next stands for what would have followed.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import obs_as_tensor

from experience.batches import AnyArray, Batch, BoolArray, Float32Array
from train_cloud.trainer.learning.views import View


@dataclass(frozen=True, eq=False)
class Run:
    """n steps of one car, one after the other.

    Attributes:
        car, first_step: whose they are, and the index of the first in its life.
        rows: (n + 1, D) observations as a batch holds them, the last being what the last step led to.
        actions: (n, A) as a batch holds them.
        rewards: (n,).
        terminated: whether the last step ended the episode for good.
        ended: whether it ended it at all.
    """

    car: int
    first_step: int
    rows: AnyArray
    actions: AnyArray
    rewards: Float32Array
    terminated: bool
    ended: bool

    @property
    def steps(self) -> int:
        """n."""
        return len(self.rewards)

    def goes_on_in(self, other: "Run") -> bool:
        """Whether `other` is what the same car did next."""
        return (
            not self.ended
            and (self.car, self.first_step + self.steps) == (other.car, other.first_step)
            and bool(np.array_equal(self.rows[-1], other.rows[0]))
        )


def runs_of(batch: Batch, wanted: BoolArray) -> list[Run]:
    """The runs of the batch's `wanted` steps (T,); one is parted where steps are left out."""
    runs, begin, row = [], 0, 0
    for car, first, length in zip(batch.run_cars, batch.run_first_steps, batch.run_lengths, strict=True):
        inside = np.flatnonzero(wanted[begin : begin + length])
        for part in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
            if len(part):
                steps = slice(begin + int(part[0]), begin + int(part[-1]) + 1)
                rows = batch.observations[row + int(part[0]) : row + int(part[-1]) + 2].copy()
                last = steps.stop - 1
                terminated = bool(batch.terminated[last])
                runs.append(
                    Run(
                        *(int(car), int(first) + int(part[0]), rows),
                        *(batch.actions[steps].copy(), batch.rewards[steps].copy()),
                        *(terminated, terminated or bool(batch.truncated[last])),
                    )
                )
        begin, row = begin + int(length), row + int(length) + 1
    return runs


def advantages_of(
    runs: list[Run], values: list[npt.NDArray[np.float32]], gamma: float, gae_lambda: float
) -> Float32Array:
    """Generalized advantage estimates (arXiv 1506.02438) of the runs' steps in order, (T,).

    `values` are the value network's of each run's rows, (n + 1,) each. Later runs of a car stand after earlier ones.
    """
    estimates: list[Float32Array] = []
    begun: dict[tuple[int, int], list[tuple[Run, float]]] = {}
    """Cars of several bridges may have one number."""
    for run, value in zip(reversed(runs), reversed(values), strict=True):
        following = begun.get((run.car, run.first_step + run.steps), [])
        advantage = next((worth for other, worth in following if run.goes_on_in(other)), 0.0)
        estimate = np.empty(run.steps, np.float32)
        for step in range(run.steps - 1, -1, -1):
            goes_on = not (run.terminated and step == run.steps - 1)
            error = run.rewards[step] + gamma * value[step + 1] * goes_on - value[step]
            estimate[step] = advantage = float(error + gamma * gae_lambda * advantage)
        begun.setdefault((run.car, run.first_step), []).append((run, advantage))
        estimates.append(estimate)
    return np.concatenate(estimates[::-1])


def digest_of_runs(runs: list[Run]) -> str:
    """SHA-256 (hex) of all steps in order."""
    told = hashlib.sha256()
    for run in runs:
        for column in (run.rows, run.actions, run.rewards):
            told.update(np.ascontiguousarray(column).tobytes())
    return told.hexdigest()


def rollout_buffer(algorithm: PPO, view: View, runs: list[Run]) -> RolloutBuffer:
    """The runs as `algorithm` learns from them: values and probabilities are of its weights of now, which acted."""
    count, size = sum(run.steps for run in runs), algorithm.batch_size
    observations = _joined([view.observed_rows(run.rows[:-1]) for run in runs])
    lasts = _joined([view.observed_rows(run.rows[-1:]) for run in runs])
    actions = view.chosen(np.concatenate([run.actions for run in runs]))
    policy = algorithm.policy
    policy.set_training_mode(False)
    values, log_probs, last_values = [], [], []
    with torch.no_grad():
        for begin in range(0, count, size):
            part = slice(begin, begin + size)
            chosen = torch.as_tensor(actions[part].astype(np.float32), device=algorithm.device)
            if isinstance(algorithm.action_space, spaces.Discrete):
                chosen = chosen.long().flatten()
            value, log_prob, _ = policy.evaluate_actions(_tensor(algorithm, observations, part), chosen)
            values.append(value.flatten())
            log_probs.append(log_prob)
        for begin in range(0, len(runs), size):
            last_values.append(policy.predict_values(_tensor(algorithm, lasts, slice(begin, begin + size))).flatten())
    of_steps, of_lasts = (torch.cat(parts).cpu().numpy() for parts in (values, last_values))
    ends = np.cumsum([run.steps for run in runs])[:-1]
    with_lasts = [np.append(*both) for both in zip(np.split(of_steps, ends), of_lasts, strict=True)]
    assert algorithm.rollout_buffer_class is not None
    space: Any = algorithm.observation_space
    buffer = algorithm.rollout_buffer_class(count, space, algorithm.action_space, algorithm.device)
    held: Any = observations
    if isinstance(held, dict):
        held = {key: part.reshape(buffer.observations[key].shape) for key, part in held.items()}
    else:
        held = held.reshape(buffer.observations.shape)
    buffer.observations = held
    buffer.actions[:, 0] = actions
    buffer.rewards[:, 0] = np.concatenate([run.rewards for run in runs])
    buffer.values[:, 0], buffer.log_probs[:, 0] = of_steps, torch.cat(log_probs).cpu().numpy()
    buffer.advantages[:, 0] = advantages_of(runs, with_lasts, algorithm.gamma, algorithm.gae_lambda)
    buffer.returns = buffer.advantages + buffer.values
    buffer.pos, buffer.full = count, True
    return buffer


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return np.concatenate(parts)


def _tensor(algorithm: PPO, observations: Any, part: slice) -> Any:
    if isinstance(observations, dict):
        return obs_as_tensor({key: values[part] for key, values in observations.items()}, algorithm.device)
    return obs_as_tensor(observations[part], algorithm.device)

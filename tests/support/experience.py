"""Made-up experience: valid batches of the racing task's layout, repeatable by seed, without any car."""

from collections.abc import Collection, Sequence

import numpy as np

from experience.codec import Batch, EpisodeRecord, LapRecord, encode_batch
from experience.environment import racing
from racing.task import ACTION_SIZE, OBSERVATION_SIZE, on_action_grid, on_observation_grid
from train_cloud.store import IncomingBatch

STREAM = "a" * 32


def made_up_batch(seed: int, run_lengths: Sequence[int] = (12, 8), late_share: float = 0.0, version: int = 1) -> Batch:
    """Runs of the given lengths; every run but the last ends an episode, one lap is in the first step."""
    rng = np.random.default_rng(seed)
    steps, runs = sum(run_lengths), len(run_lengths)
    terminated, truncated = np.zeros(steps, bool), np.zeros(steps, bool)
    ends = np.cumsum(run_lengths)[:-1] - 1
    terminated[ends[::2]] = True
    truncated[ends[1::2]] = True
    return Batch(
        layout=racing().spaces.layout,
        run_lengths=np.array(run_lengths, np.int32),
        run_cars=np.arange(runs, dtype=np.int32),
        run_first_steps=np.full(runs, 100 * seed, np.int64),
        observations=on_observation_grid(rng.normal(size=(steps + runs, OBSERVATION_SIZE))),
        actions=on_action_grid(rng.uniform(-1, 1, (steps, ACTION_SIZE))),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        policy_versions=np.full(steps, version, np.uint32),
        action_ages=np.zeros(steps, np.float32),
        off_period=rng.random(steps) < late_share,
        laps=(LapRecord(0, 100.0 - 0.01 * seed, seed % 2 == 0),),
        episodes=tuple(EpisodeRecord(int(row), 50, float(seed), "off_track") for row in ends),
    )


def incoming(
    numbers: Sequence[int], stream: str = STREAM, late_share: float = 0.0, demonstrated: Collection[int] = ()
) -> list[IncomingBatch]:
    """Batches of `stream` with these numbers, 20 steps each; a number's content is always the same.

    No policy drove those that are `demonstrated`.
    """
    batches = [
        (number, made_up_batch(number, late_share=late_share, version=int(number not in demonstrated)))
        for number in numbers
    ]
    return [IncomingBatch(stream, number, batch.steps, encode_batch(batch)) for number, batch in batches]

"""Made-up batches of experience: valid ones of any shape, the same ones for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from experience.batches import MAX_ACTION_AGE, MAX_NUMBER, MAX_REWARD, within
from experience.codec import Batch, Column, EpisodeRecord, LapRecord, Layout

GRID_LAYOUT = Layout(Column(5, step=2.0**-12), Column(2, step=2.0**-15))


def made_up_batch(
    seed: int = 0,
    run_lengths: Sequence[int] = (10,),
    layout: Layout = GRID_LAYOUT,
    extreme: bool = False,
) -> Batch:
    """A valid batch of smooth columns, or with `extreme` of values from the whole range that a batch may hold."""
    rng = np.random.default_rng(seed)
    runs, steps = len(run_lengths), sum(run_lengths)
    ends = np.cumsum(run_lengths) - 1
    terminated, truncated = np.zeros(steps, bool), np.zeros(steps, bool)
    terminated[ends] = rng.random(runs) < 0.3
    truncated[ends] = rng.random(runs) < 0.2
    return Batch(
        layout=layout,
        run_lengths=np.array(run_lengths, np.int32),
        run_cars=rng.integers(0, 100, runs).astype(np.int32),
        run_first_steps=rng.integers(0, 2**40, runs),
        observations=_values(rng, steps + runs, layout.observation, extreme),
        actions=_values(rng, steps, layout.action, extreme),
        rewards=_values(rng, steps, Column(1), extreme, MAX_REWARD)[:, 0],
        terminated=terminated,
        truncated=truncated,
        policy_versions=np.sort(rng.integers(0, 2**32 if extreme else 3, steps)).astype(np.uint32),
        action_ages=np.minimum(np.abs(_values(rng, steps, Column(1), extreme)[:, 0]), np.float32(MAX_ACTION_AGE)),
        off_period=rng.random(steps) < 0.1,
        laps=(LapRecord(int(ends[0]), 88.25, True),) if seed % 2 else (),
        episodes=(EpisodeRecord(int(ends[-1]), 7, 1.5, "off_track"),) if seed % 3 == 0 else (),
    )


def _values(
    rng: np.random.Generator, rows: int, column: Column, extreme: bool, most: float = MAX_NUMBER
) -> npt.NDArray[Any]:
    shape = (rows, column.size)
    dtype = np.dtype(column.dtype)
    if column.step is not None:
        whole = rng.integers(-32768, 32768, shape) if extreme else rng.normal(0.0, 20.0, shape).cumsum(0).round()
        return (np.clip(whole, -32768, 32767) * column.step + 0.0).astype(np.float32)
    if extreme:
        bits = np.frombuffer(rng.bytes(rows * column.size * dtype.itemsize), dtype).reshape(shape)
        return np.where(within(bits, most), bits, dtype.type(0))
    return rng.normal(0.0, 5.0, shape).cumsum(0).astype(np.float64).clip(0, 100).astype(dtype)


def same_bits(one: Batch, other: Batch) -> bool:
    """Whether both hold the same, to the bit and the dtype (a NaN equals itself, -0.0 differs from 0.0)."""
    for field in dataclasses.fields(Batch):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, np.ndarray):
            if mine.dtype != theirs.dtype or mine.shape != theirs.shape or mine.tobytes() != theirs.tobytes():
                return False
        elif mine != theirs:
            return False
    return True

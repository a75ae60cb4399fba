"""What a few steps in a row brought, and where they led: the returns of n-step learning.

Rewards reach the actions that earned them n times sooner than by one step's bootstrapping, at the price that the later
actions of the window were an earlier policy's.
"""

from typing import NamedTuple

import numpy as np

from experience.batches import Batch, BoolArray, Float32Array, RowArray


class Returns(NamedTuple):
    """For each step of a batch (T,), of the window that begins with it.

    Attributes:
        rewards: their discounted sum.
        last: the step that ends the window.
        done: what of the discounted value of where it led to does not count. Of one step that is 1 where it terminated
            and 0 elsewhere; a longer window discounts that value more, by what is missing here.
    """

    rewards: Float32Array
    last: RowArray
    done: Float32Array


def returns_of(batch: Batch, usable: BoolArray, steps: int, gamma: float) -> Returns:
    """Windows of `steps` steps, shorter before the end of a run or of the batch and before a step not `usable` (T,)."""
    at = np.arange(batch.steps)
    ends = np.repeat(np.cumsum(batch.run_lengths), batch.run_lengths)
    rewards, last, going = batch.rewards.astype(np.float32), at.copy(), np.ones(batch.steps, bool)
    for ahead in range(1, steps):
        reached = np.minimum(at + ahead, batch.steps - 1)
        going &= (at + ahead < ends) & usable[reached]
        rewards = rewards + np.where(going, np.float32(gamma**ahead) * batch.rewards[reached], np.float32(0.0))
        last = np.where(going, reached, last)
    kept = (gamma ** (last - at)) * ~batch.terminated[last]
    return Returns(rewards, last, (1.0 - kept).astype(np.float32))

"""`python -m tests.experience.make_golden`: writes golden/batch_v2.bin, a batch as a bridge of version 2 stored it.

Run it for a new version of the form only, under a new name: what is committed is what people may have in their spools,
stores and buckets, and today's decoder must go on reading it.
"""

from pathlib import Path

import numpy as np

from experience.codec import Batch, Column, EpisodeRecord, LapRecord, Layout, encode_batch

GOLDEN = Path(__file__).parent / "golden" / "batch_v2.bin"


def golden_batch() -> Batch:
    """Two runs of two cars with everything that a batch can have, each value another."""
    observations = np.arange(21, dtype=np.float32).reshape(7, 3) * np.float32(0.25) - np.float32(2.0)
    return Batch(
        layout=Layout(Column(3, step=2.0**-12), Column(2, step=2.0**-15)),
        run_lengths=np.array([3, 2], np.int32),
        run_cars=np.array([0, 4], np.int32),
        run_first_steps=np.array([100, 2**40], np.int64),
        observations=observations,
        actions=np.array([[0.5, -0.5], [0.25, 0.0], [-1.0, 2.0**-15], [0.0, 0.0], [0.75, 0.125]], np.float32),
        rewards=np.array([0.1, -2.0, 0.5, 3.25, 1e-3], np.float32),
        terminated=np.array([0, 0, 1, 0, 0], bool),
        truncated=np.array([0, 0, 0, 0, 1], bool),
        policy_versions=np.array([0, 7, 7, 8, 2**32 - 1], np.uint32),
        action_ages=np.array([0.0, 2.0**-13, 0.125, 0.5, 1.0], np.float32),
        late=np.array([0, 1, 0, 0, 0], bool),
        laps=(LapRecord(1, 91.0625, True), LapRecord(4, 88.5, False)),
        episodes=(EpisodeRecord(2, 812, -3.25, "crash"), EpisodeRecord(4, 2, 3.25, "time")),
    )


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(encode_batch(golden_batch()))

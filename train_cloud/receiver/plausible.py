"""Whether a batch claims only what its run can have made: what one bridge says decides about others, too.

A version that was never published would number the next policies, and a lap that nobody can drive would be the best
for ever. The bounds are so wide that no honest bridge meets them.
"""

from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from experience.batches import MAX_REWARD, Batch, CodecError
from racing.track_text import track_of
from train_cloud.run_config import RunConfig
from train_cloud.versions import LOST_VERSIONS
from wire.messages import Telemetry

FASTEST_MEAN_SPEED: Final = 150.0
"""m/s over a lap: half as fast again as any car of the game on any track."""

WIDEST_GAP: Final = 200.0
"""m from the centreline: no car that is driven comes to lie further off, and none is shown there."""


@lru_cache(maxsize=4)
def shortest_lap_on(track_text: bytes) -> float:
    """Seconds that a lap of the track in a text takes at least. Raises TrackError for what is none."""
    return float(track_of(track_text).length) / FASTEST_MEAN_SPEED


def greatest_reward(config: RunConfig) -> float:
    """Most that a step of the run's task is worth or costs, either way; MAX_REWARD where others made the task.

    Even where the game throws the car across a circuit, or into a wall at 500 m/s.
    """
    if config.environment.id is not None:
        return MAX_REWARD
    task = config.task
    metres, speed, impact, wheels, change = 10_000.0, 500.0, (500.0 / 50.0) ** 2, 2.0, 8.0
    most = (
        task.progress_scale * metres + task.pace_scale * speed + task.off_track_penalty + task.impact_penalty * impact
    )
    most += task.wheels_out_penalty / task.control_hz * wheels + task.smoothness_penalty * task.control_hz * change
    return min(MAX_REWARD, float(most))


def check_plausible(batch: Batch, newest_version: int, shortest_lap: float, greatest_reward: float) -> None:
    """Raise CodecError for a version, a lap time (s) or a reward that this run cannot have made.

    Before the first version is published here (0), any may have been, by a life before this one.
    """
    claimed = batch.newest_version
    if newest_version and claimed > newest_version + LOST_VERSIONS:
        raise CodecError(
            f"The batch names version {claimed} of the policy, and this run has published {newest_version} so far."
        )
    reward = float(np.abs(batch.rewards).max())
    if reward > greatest_reward:
        raise CodecError(
            f"The batch holds a reward of {reward:g} for a step, and this run's task gives {greatest_reward:g} at most."
        )
    for lap in batch.laps:
        if lap.time < shortest_lap:
            raise CodecError(
                f"The batch holds a lap of {lap.time:.3f} s; on this track none takes less than {shortest_lap:.0f} s."
            )


def plausible_telemetry(told: Telemetry, shortest_lap: float) -> Telemetry | None:
    """What of it can be on the track of this shortest lap (s); None for a place that no such track has.

    Who knows no place may be on any track.
    """
    if told.place is None or told.gap is None:
        return msgspec.structs.replace(told, place=None, gap=None, off_tracks=())
    # A rounding is no other track.
    length = shortest_lap * FASTEST_MEAN_SPEED + 0.01
    if shortest_lap <= 0.0 or told.place > length:
        return None
    spots = tuple(spot for spot in told.off_tracks if spot[0] <= length and abs(spot[1]) <= WIDEST_GAP)
    return msgspec.structs.replace(told, gap=max(-WIDEST_GAP, min(told.gap, WIDEST_GAP)), off_tracks=spots)

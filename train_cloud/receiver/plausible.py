"""Whether a batch claims only what its run can have made: what one bridge says decides about others, too.

A version that was never published would number the next policies, and a lap that nobody can drive would be the best
for ever. The bounds are so wide that no honest bridge meets them.
"""

from functools import lru_cache
from typing import Final

from experience.batches import Batch, CodecError
from racing.track_text import track_of
from train_cloud.versions import LOST_VERSIONS

FASTEST_MEAN_SPEED: Final = 150.0
"""m/s over a lap: half as fast again as any car of the game on any track."""


@lru_cache(maxsize=4)
def shortest_lap_on(track_text: bytes) -> float:
    """Seconds that a lap of the track in a text takes at least. Raises TrackError for what is none."""
    return float(track_of(track_text).length) / FASTEST_MEAN_SPEED


def check_plausible(batch: Batch, newest_version: int, shortest_lap: float) -> None:
    """Raise CodecError for a version far above the newest published, 0 for none yet, or a lap below `shortest_lap`, s.

    Before the first version is published here nobody can tell: a life before this one may have published any.
    """
    claimed = int(batch.policy_versions.max())
    if newest_version and claimed > newest_version + LOST_VERSIONS:
        raise CodecError(
            f"The batch names version {claimed} of the policy, and this run has published {newest_version} so far."
        )
    for lap in batch.laps:
        if lap.time < shortest_lap:
            raise CodecError(
                f"The batch holds a lap of {lap.time:.3f} s; on this track none takes less than {shortest_lap:.0f} s."
            )

"""How far cars get in an episode of racing: what shows progress before the first lap.

Metres are not stored with the experience; the speed that each observation begins with tells them.
"""

import numpy as np
import numpy.typing as npt

from experience.batches import Batch
from racing.task import CHANNELS
from racing.track import TrackError
from racing.track_text import track_of
from train_cloud.store_file import StoreFile
from train_cloud.track_table import only_track, track

_SPEED = next(column for column, channel in enumerate(CHANNELS) if channel.name == "speed_forward")
_MOST_CARS = 4096
"""More than drive at once in any run: what bridges name must not fill the memory."""


def metres_of(batch: Batch, control_hz: float) -> npt.NDArray[np.float64]:
    """(T,) m that each step of racing drove; `control_hz` as the task has it."""
    speeds = batch.current_observations()[:, _SPEED].astype(np.float64)
    return np.asarray(CHANNELS[_SPEED].scale / control_hz * speeds)


class Odometer:
    """Adds up what each car drives, over batches; `control_hz` as the task has it."""

    def __init__(self, control_hz: float) -> None:
        self._control_hz = control_hz
        self._under_way: dict[tuple[str, int], float] = {}

    def read(self, stream: str, batch: Batch) -> list[float]:
        """The metres of each episode that ended in the batch; call it once for each, in their order."""
        lasts = np.cumsum(batch.run_lengths) - 1
        driven = np.add.reduceat(metres_of(batch, self._control_hz), lasts + 1 - batch.run_lengths)
        ended = {episode.row for episode in batch.episodes}
        metres = []
        for car, last, more in zip(batch.run_cars.tolist(), lasts.tolist(), driven.tolist(), strict=True):
            so_far = self._under_way.pop((stream, car), 0.0) + more
            if last in ended:
                metres.append(so_far)
            elif len(self._under_way) < _MOST_CARS:
                self._under_way[stream, car] = so_far
        return metres


def lap_metres(store: StoreFile, chosen: str | None) -> float | None:
    """Length of the run's track: the `chosen` one (SHA-256), or the one that all bridges drive; None while unknown."""
    text = only_track(store) if chosen is None else track(store, chosen)
    try:
        return None if text is None else float(track_of(text).length)
    except TrackError:
        return None

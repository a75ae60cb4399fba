"""Judges a policy by what the run's own cars drive with it: steps of its version, from a begun episode or lap on.

The version was sent to be judged, so that whoever drives by it does so without exploration, from the start of an
episode or of a lap to the episode's end or for LAPS laps (`experience.policy_driver`).
"""

from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from experience.batches import Batch, BoolArray, LapRecord
from experience.policy_driver import LAPS
from racing.evaluation import Judgement
from train_cloud.trainer.laps import speeds_of

MOST_AWAITED = 4
"""Versions that may have been begun unseen: a start rolls for seconds before the policy drives, and links are slow."""
_MOST_CARS = 4096
_NOT_DRIVEN_OUT = frozenset({"interrupted", "stopped", "start", "recording"})
"""Ends that no policy is to blame for: such a drive is no judgement."""


@dataclass(slots=True)
class _Drive:
    """One car's; `end` is None while it goes on."""

    laps: list[LapRecord] = field(default_factory=list)
    metres: float = 0.0
    end: str | None = None


class LapsOfVersion:
    """Follows the drives by one version; `control_hz` as the task has it."""

    def __init__(self, control_hz: float) -> None:
        self._control_hz = control_hz
        self._awaited: list[int] = []
        self._version: int | None = None
        self.judged: int | None = None
        """The version of the latest judgement."""
        self._drives: dict[tuple[str, int], _Drive] = {}
        self.steps = 0
        """Driven by the version so far."""

    @property
    def under_way(self) -> bool:
        """Whether somebody has begun to drive by the version, and is not known to have ended."""
        return self._version is not None and any(drive.end is None for drive in self._drives.values())

    def follow(self, version: int) -> None:
        """Follow this version from now on, unless one that was to be followed before it is found to be driven first."""
        self._awaited = [*self._awaited, version][-MOST_AWAITED:]
        self._version, self._drives, self.steps = None, {}, 0

    def read(self, stream: str, batch: Batch) -> Judgement | None:
        """Look at a batch, each once and in its stream's order; the judgement when every drive that began is over."""
        if self._version is None:
            begun = [version for version in self._awaited if (batch.policy_versions == version).any()]
            if not begun:
                return None
            self._version, self._awaited = begun[-1], []
        mine = batch.policy_versions == self._version
        if not self._drives and not mine.any():
            return None
        self.steps += int(mine.sum())
        metres = np.where(mine, speeds_of(batch) / self._control_hz, 0.0)
        lasts = np.cumsum(batch.run_lengths)
        firsts = lasts - batch.run_lengths
        for car, first, last in zip(batch.run_cars.tolist(), firsts.tolist(), (lasts - 1).tolist(), strict=True):
            self._drove((stream, car), batch, mine, float(metres[first : last + 1].sum()), range(first, last + 1))
        if not self._drives or any(drive.end is None for drive in self._drives.values()):
            return None
        drives, self.judged, self._version = list(self._drives.values()), self._version, None
        clean = tuple(sum(1 for _ in takewhile(lambda lap: lap.clean, drive.laps)) for drive in drives)
        best = min((lap.time for drive in drives for lap in drive.laps if lap.clean), default=None)
        return Judgement(clean, tuple(d.end or "" for d in drives), best, tuple(d.metres for d in drives))

    def _drove(self, who: tuple[str, int], batch: Batch, mine: BoolArray, metres: float, rows: range) -> None:
        drive, any_mine = self._drives.get(who), bool(mine[rows.start : rows.stop].any())
        if drive is None and any_mine and len(self._drives) < _MOST_CARS:
            drive = self._drives[who] = _Drive()
        if drive is None or drive.end is not None:
            return
        drive.metres += metres
        drive.laps += [lap for lap in batch.laps if lap.row in rows and mine[lap.row]]
        ended = [episode.reason for episode in batch.episodes if episode.row == rows[-1] and mine[rows[-1]]]
        if ended and ended[0] in _NOT_DRIVEN_OUT:
            del self._drives[who]
        elif len(drive.laps) >= LAPS or not mine[rows[-1]]:
            drive.end = ""
        elif ended:
            drive.end = ended[0]

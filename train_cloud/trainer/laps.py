"""What cars of racing drove: the metres of their episodes, and the laps of the human and of the policy by sectors.

Neither metres nor sectors, nor the course of a lap, are stored with the experience: what each step observed tells them.
A step of version 0 was driven by no policy; a lap of such steps alone is the human's (or that of whoever else
demonstrates).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from experience.batches import DEMONSTRATION, NOBODY, AnyArray, Batch, Float32Array
from racing.car import FloatArray
from racing.sectors import sector_times, speed_along
from racing.track import TrackError
from racing.track_text import track_of
from train_cloud.store_file import StoreFile
from train_cloud.track_table import only_track, track
from train_cloud.trainer.lap_trace import COLUMNS, Course, seen_in

_MOST_STEPS = 3 * 2**19
"""Steps of laps under way that are kept for all cars together, 48 MiB: what bridges name must not fill the memory."""
_LEAST_STEPS = 3 * 2**7
"""A car counts as so many at least: 4,096 cars are followed, more than drive at once in any run."""
_MOST_STEPS_OF_A_LAP = 2**16
"""18 minutes at 60 Hz."""
_MOST_OFF = 0.2
"""A lap whose steps take another time than it did, by more than this share, is none."""
_ALONG, _OFF_PERIOD, _BY = range(3)
_KEPT = 3 + COLUMNS
"""Columns that are kept of each step: these, and what lap_trace tells of it."""
_HUMAN, _POLICY, _NOBODY = range(3)


@dataclass(frozen=True, slots=True)
class DrivenLap:
    """A clean lap.

    Attributes:
        sectors: its time in each, s.
        human: driven without a policy.
        version: of the policy that ended it; 0 where none drove.
        course: of which its trace can be made.
    """

    sectors: tuple[float, ...]
    human: bool
    version: int
    course: Course = field(repr=False)


class LapTimes(msgspec.Struct, kw_only=True):
    """Clean laps as their times in each sector, s; None before the first.

    Attributes: human: the best without a policy; policy, last: the best and the newest of the policy's.
    """

    human: tuple[float, ...] | None = None
    policy: tuple[float, ...] | None = None
    last: tuple[float, ...] | None = None

    def add(self, laps: Sequence[DrivenLap]) -> None:
        """Take note of these laps, in their order."""
        for lap in laps:
            if lap.human:
                self.human = min(self.human or lap.sectors, lap.sectors, key=sum)
            else:
                self.policy = min(self.policy or lap.sectors, lap.sectors, key=sum)
                self.last = lap.sectors


@dataclass(slots=True)
class _Car:
    """A car in its episode.

    Attributes:
        metres: driven so far.
        steps: (_KEPT, N), the newest N without a hole: m/s along the centreline; is it off the period; whose it is;
            and what lap_trace tells.
        from_line: a lap began within the first of them; else it is not known where one did.
        led_to: what the newest step led to.
    """

    metres: float = 0.0
    steps: Float32Array = field(default_factory=lambda: np.empty((_KEPT, 0), np.float32))
    from_line: bool = False
    led_to: AnyArray | None = None

    @property
    def counts(self) -> int:
        """Its share of _MOST_STEPS."""
        return max(_LEAST_STEPS, int(self.steps.shape[1]))

    def go_on(self, steps: Float32Array) -> None:
        """Add steps (_KEPT, K)."""
        self.steps = np.concatenate([self.steps, steps], axis=1)
        if self.steps.shape[1] > _MOST_STEPS_OF_A_LAP:
            self.steps, self.from_line = self.steps[:, -_MOST_STEPS_OF_A_LAP:], False

    def lap(self, lap_time: float, period: float, version: int) -> DrivenLap | None:
        """The lap of `lap_time` s that ended within the newest step, which was driven by `version`.

        None where some of it is missing, or is another's.

        Where in its first and last step it began and ended is not told: in the middle. Of the first lap of an episode
        no step told the beginning: it lies its time before the end, were all steps of a period.
        """
        seconds = np.full(self.steps.shape[1], period)
        if self.from_line:
            # Steps off the period took what is left of the time: how long each was is not stored.
            missing = lap_time + period - seconds.sum()
            if abs(missing) > _MOST_OFF * lap_time:
                return None
            off = self.steps[_OFF_PERIOD] > 0
            uneven = off if off.any() else np.ones_like(off)
            seconds[uneven] = np.maximum(seconds[uneven] + missing / uneven.sum(), 0.0)
        start = seconds.sum() - 0.5 * period - lap_time
        along = self.steps[_ALONG].astype(np.float64)
        sectors = sector_times(along, seconds, start, lap_time)
        by = set(self.steps[_BY, np.cumsum(seconds) > start].tolist())
        if sectors is None or by not in ({_HUMAN}, {_POLICY}):
            return None
        course = Course(along, seconds, self.steps[_BY + 1 :], start, lap_time)
        return DrivenLap(tuple(np.round(sectors, 3).tolist()), by == {_HUMAN}, version, course)

    def cross_line(self) -> None:
        """A new lap began within the newest step."""
        self.steps, self.from_line = self.steps[:, -1:].copy(), True


def speeds_of(batch: Batch) -> FloatArray:
    """How fast each step (T,) went along the centreline, m/s: the mean of where it began and where it led to."""
    speeds, rows = speed_along(batch.observations), batch.current_rows()
    means: FloatArray = 0.5 * (speeds[rows] + speeds[rows + 1])
    return means


class Drives:
    """Follows each car over batches; `control_hz` as the task has it."""

    def __init__(self, control_hz: float) -> None:
        self._period = 1.0 / control_hz
        self._cars: dict[str, dict[int, _Car]] = {}

    def read(self, stream: str, batch: Batch) -> tuple[list[float], list[DrivenLap]]:
        """The metres of each episode that a policy ended in the batch, and its clean laps of which all steps are known.

        Call it once for each batch of a stream, in their order.
        """
        rows = batch.current_rows()
        means = speeds_of(batch)
        versions = batch.policy_versions
        by = np.select([versions == DEMONSTRATION, versions == NOBODY], [_HUMAN, _NOBODY], _POLICY)
        steps = np.empty((_KEPT, batch.steps), np.float32)
        steps[: _BY + 1], steps[_BY + 1 :] = (means, batch.off_period, by), seen_in(batch, rows)
        cars, ended = self._cars.setdefault(stream, {}), {episode.row for episode in batch.episodes}
        laps_at = {lap.row: lap for lap in batch.laps}
        crossings, metres, laps = sorted(laps_at), list[float](), list[DrivenLap]()
        ends = np.cumsum(batch.run_lengths)
        firsts = ends - batch.run_lengths
        for name, first, end in zip(batch.run_cars.tolist(), firsts.tolist(), ends.tolist(), strict=True):
            car = cars.setdefault(name, _Car())
            if car.led_to is None or not np.array_equal(car.led_to, batch.observations[rows[first]]):
                car.steps, car.from_line = steps[:, :0], False
            car.led_to = batch.observations[rows[end - 1] + 1].copy()
            car.metres += self._period * float(means[first:end].sum())
            while crossings and crossings[0] < end:
                row = crossings.pop(0)
                car.go_on(steps[:, first : row + 1])
                ended_by = int(versions[row])
                if laps_at[row].clean and (lap := car.lap(laps_at[row].time, self._period, ended_by)) is not None:
                    laps.append(lap)
                car.cross_line()
                first = row + 1
            car.go_on(steps[:, first:end])
            if end - 1 in ended:
                metres += [car.metres] if by[end - 1] == _POLICY else []
                del cars[name]
        self._forget()
        return metres, laps

    def _forget(self) -> None:
        """Keep within bounds: whichever stream names the most is forgotten, and no other."""
        counts = {stream: sum(car.counts for car in cars.values()) for stream, cars in self._cars.items()}
        while sum(counts.values()) > _MOST_STEPS:
            most = max(counts, key=lambda stream: counts[stream])
            del counts[most], self._cars[most]


def lap_metres(store: StoreFile, chosen: str | None) -> float | None:
    """Length of the run's track: the `chosen` one (SHA-256), or the one that all bridges drive; None while unknown."""
    text = only_track(store) if chosen is None else track(store, chosen)
    try:
        return None if text is None else float(track_of(text).length)
    except TrackError:
        return None

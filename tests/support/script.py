"""A stream of experience in which every row is a pure function of its place, and the check that a copy of it is whole.

A producer that starts again anywhere makes the same rows again, and a reader that knows only the seed can say of any
store whether it holds each row once, in order and to the bit. Values are noise: rows that were exchanged, repeated or
shifted never look alike by chance.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from experience.batches import TIMING_STEP
from experience.codec import Batch
from racing.driving import EpisodeEnd, Lap, Step
from racing.task import ACTION_SIZE, ACTION_STEP, OBSERVATION_SIZE, OBSERVATION_STEP

_MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_PRIMES: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
_ENDS_ONE_IN = 60
_LAPS_ONE_IN = 150
_LATE_ONE_IN = 40
_REASONS = ("off_track", "crash", "time")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one car, one for each tick: what was seen, done and came of it. Shapes (T, ...)."""

    observations: npt.NDArray[np.float32]
    actions: npt.NDArray[np.float32]
    rewards: npt.NDArray[np.float32]
    next_observations: npt.NDArray[np.float32]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    versions: npt.NDArray[np.uint32]
    ages: npt.NDArray[np.float32]
    off_period: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run that has seen every row once must have counted."""

    steps: int
    off_period_steps: int
    laps: int
    clean_laps: int
    best_lap: float | None
    ends: dict[str, int]


class Script:
    """The rows of `cars` cars at ticks 0, 1, 2, ...; equal seeds give equal rows, on every machine."""

    def __init__(self, seed: int, cars: int) -> None:
        self.seed, self.cars = seed, cars

    def rows(self, car: int, ticks: npt.NDArray[np.int64]) -> Rows:
        """The rows of `car` at `ticks` (T,)."""
        terminated, truncated = self._ends(car, ticks)
        following = np.where(
            (terminated | truncated)[:, None], self._observations("last", car, ticks), self._seen(car, ticks + 1)
        )
        return Rows(
            observations=self._seen(car, ticks),
            actions=_grid(self._noise("action", car, ticks, ACTION_SIZE), ACTION_STEP),
            rewards=((self._noise("reward", car, ticks)[:, 0] >> 40) / 2.0**22 - 2.0).astype(np.float32),
            next_observations=following,
            terminated=terminated,
            truncated=truncated,
            versions=(1 + ticks // 200).astype(np.uint32),
            ages=(self._noise("age", car, ticks)[:, 0] % 400 * TIMING_STEP).astype(np.float32),
            # Late is the whole step of all cars, so it does not depend on the car.
            off_period=self._noise("off_period", 0, ticks)[:, 0] % _LATE_ONE_IN == 0,
        )

    def laps(self, car: int, ticks: npt.NDArray[np.int64]) -> dict[int, Lap]:
        """The laps of `car` that end at some of `ticks`, by tick."""
        noise = self._noise("lap", car, ticks)[:, 0]
        return {
            int(tick): Lap(car, 60.0 + int(value >> 40) / 2**20, bool(value >> 39 & 1))
            for tick, value in zip(ticks, noise, strict=True)
            if value % _LAPS_ONE_IN == 0
        }

    def episodes(self, car: int, ticks: npt.NDArray[np.int64]) -> dict[int, EpisodeEnd]:
        """The episodes of `car` that end at some of `ticks`, by tick."""
        terminated, truncated = self._ends(car, ticks)
        noise = self._noise("episode", car, ticks)[:, 0]
        ended = np.flatnonzero(terminated | truncated)
        return {
            int(ticks[k]): EpisodeEnd(car, 1 + int(noise[k] % 500), int(noise[k] >> 40) / 2**16, _REASONS[noise[k] % 3])
            for k in ended
        }

    def step(self, tick: int) -> tuple[npt.NDArray[np.float32], Step, int]:
        """(observation that was acted on (N, D), the step of all cars, policy version), for experience.recorder."""
        at = np.array([tick])
        rows = [self.rows(car, at) for car in range(self.cars)]
        joined = {field.name: np.concatenate([getattr(row, field.name) for row in rows]) for field in fields(Rows)}
        step = Step(
            observation=np.concatenate([self._seen(car, at + 1) for car in range(self.cars)]),
            next_observation=joined["next_observations"],
            action=joined["actions"],
            reward=joined["rewards"],
            terminated=joined["terminated"],
            truncated=joined["truncated"],
            action_age=joined["ages"],
            off_period=bool(joined["off_period"][0]),
            laps=tuple(lap for car in range(self.cars) for lap in self.laps(car, at).values()),
            episodes=tuple(end for car in range(self.cars) for end in self.episodes(car, at).values()),
        )
        return joined["observations"], step, int(joined["versions"][0])

    def totals(self, ticks: int) -> Totals:
        """What the first `ticks` ticks add up to."""
        at = np.arange(ticks)
        laps = [lap for car in range(self.cars) for lap in self.laps(car, at).values()]
        ends: dict[str, int] = {}
        for car in range(self.cars):
            for end in self.episodes(car, at).values():
                ends[end.reason] = ends.get(end.reason, 0) + 1
        return Totals(
            steps=ticks * self.cars,
            off_period_steps=sum(int(self.rows(car, at).off_period.sum()) for car in range(self.cars)),
            laps=len(laps),
            clean_laps=sum(lap.clean for lap in laps),
            best_lap=min((lap.time for lap in laps if lap.clean), default=None),
            ends=ends,
        )

    def _ends(self, car: int, ticks: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        noise = self._noise("end", car, ticks)[:, 0] % _ENDS_ONE_IN
        return noise == 0, noise == 1

    def _seen(self, car: int, ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._observations("seen", car, ticks)

    def _observations(self, kind: str, car: int, ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return _grid(self._noise(kind, car, ticks, OBSERVATION_SIZE), OBSERVATION_STEP)

    def _noise(self, kind: str, car: int, ticks: npt.NDArray[np.int64], size: int = 1) -> npt.NDArray[np.uint64]:
        """(T, size) hashes of the place: SplitMix64's finaliser (Steele et al., 2014) over a sum of multiples."""
        place = (self.seed, int.from_bytes(kind.encode(), "little"), car)
        base = sum(value * prime for value, prime in zip(place, _PRIMES[:3], strict=True)) % 2**64
        with np.errstate(over="ignore"):
            noise = np.uint64(base) + ticks.astype(np.uint64)[:, None] * np.uint64(_PRIMES[3])
            noise = noise + np.arange(size, dtype=np.uint64) * np.uint64(_PRIMES[4])
            for _ in range(2):
                noise = (noise ^ (noise >> np.uint64(30))) * _MIX[0]
                noise = (noise ^ (noise >> np.uint64(27))) * _MIX[1]
                noise = noise ^ (noise >> np.uint64(31))
        return noise


def _grid(noise: npt.NDArray[np.uint64], step: float) -> npt.NDArray[np.float32]:
    """All values of the 16-bit grid, -32768 * step to 32767 * step."""
    return (((noise >> np.uint64(48)).astype(np.int64) - 32768) * step).astype(np.float32)


def check_whole(script: Script, ticks: int, batches: Iterable[Batch]) -> None:
    """Hold that `batches` are the first `ticks` ticks of `script`: each row once, in order, equal to the bit.

    Raises AssertionError that names the first car, row and column that differ.
    """
    pieces: dict[int, list[Rows]] = {car: [] for car in range(script.cars)}
    counts = dict.fromkeys(range(script.cars), 0)
    for index, batch in enumerate(batches):
        for car, first, piece in _runs(batch):
            assert first == counts[car], f"batch {index} has car {car} at row {first}, not {counts[car]}"
            counts[car] += len(piece.rewards)
            pieces[car].append(piece)
        _check_records(script, batch)
    assert counts == dict.fromkeys(range(script.cars), ticks), f"rows of each car: {counts}, not {ticks}"
    for car in range(script.cars):
        expected = script.rows(car, np.arange(ticks))
        for field in fields(Rows):
            column = np.concatenate([getattr(piece, field.name) for piece in pieces[car]])
            wanted = getattr(expected, field.name)
            assert column.dtype == wanted.dtype, f"car {car}, {field.name}: {column.dtype} instead of {wanted.dtype}"
            if column.tobytes() != wanted.tobytes():
                row = int(np.flatnonzero((column != wanted).reshape(ticks, -1).any(axis=1))[0])
                raise AssertionError(f"car {car}, row {row}, {field.name}: {column[row]} instead of {wanted[row]}")


def _runs(batch: Batch) -> Iterator[tuple[int, int, Rows]]:
    columns: tuple[npt.NDArray[Any], ...] = (
        batch.current_observations(),
        batch.actions,
        batch.rewards,
        batch.next_observations(),
        batch.terminated,
        batch.truncated,
        batch.policy_versions,
        batch.action_ages,
        batch.off_period,
    )
    ends = np.cumsum(batch.run_lengths)
    for run, end in enumerate(ends):
        piece = slice(int(end - batch.run_lengths[run]), int(end))
        yield int(batch.run_cars[run]), int(batch.run_first_steps[run]), Rows(*(column[piece] for column in columns))


def _check_records(script: Script, batch: Batch) -> None:
    ticks = np.concatenate(
        [first + np.arange(n) for first, n in zip(batch.run_first_steps, batch.run_lengths, strict=True)]
    )
    cars = np.repeat(batch.run_cars, batch.run_lengths)
    laps = sorted((int(cars[lap.row]), int(ticks[lap.row]), lap.time, lap.clean) for lap in batch.laps)
    episodes = sorted(
        (int(cars[end.row]), int(ticks[end.row]), end.steps, end.total_reward, end.reason) for end in batch.episodes
    )
    own = {car: ticks[cars == car] for car in np.unique(cars).tolist()}
    expected_laps = [
        (car, t, lap.time, lap.clean) for car, at in own.items() for t, lap in script.laps(car, at).items()
    ]
    expected_episodes = [
        (car, tick, end.steps, end.total_reward, end.reason)
        for car, at in own.items()
        for tick, end in script.episodes(car, at).items()
    ]
    assert laps == sorted(expected_laps), "the laps of a batch differ from the script's"
    assert episodes == sorted(expected_episodes), "the episodes of a batch differ from the script's"

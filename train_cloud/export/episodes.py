"""Puts episodes together from batches: each car's runs, which a batch's end cuts, joined where they join.

A run goes on where it begins with the step and the observation that the car's newest run led to. What does not (steps
were lost, or never collected) begins an episode whose own beginning is not known, and leaves the one before without an
end. The driver's own record of an episode's length, where it comes with the last step, decides whether its beginning is
here. What is held for episodes that go on is bounded: the longest is cut before it is too much.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from experience.batches import DEMONSTRATION, AnyArray, Batch, BoolArray, Float32Array
from train_cloud.export.experience import Driven

MOST_STEPS = 100_000
"""Of one episode; minari reads back fewer than 131,072 in one piece."""
MOST_BYTES = 256 * 2**20
"""Held at the same time, of all episodes that go on."""
_COLUMNS = ("actions", "rewards", "terminated", "truncated", "policy_versions", "action_ages", "off_period")


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """T steps of one car in a row, as they were driven.

    Attributes:
        first_step: index of the first in the car's life.
        observations: (T + 1, D) rows; the last is what the last step led to.
        actions: (T, A) rows.
        rewards, action_ages: (T,) float32, the latter in s.
        terminated, truncated, off_period: (T,) bool.
        policy_versions: (T,) uint32.
        begun, ended: whether its first step began an episode, and its last one ended it.
        reason: why it ended; "" where that is not known.
    """

    stream: str
    bridge: str
    car: int
    first_step: int
    observations: AnyArray
    actions: AnyArray
    rewards: Float32Array
    terminated: BoolArray
    truncated: BoolArray
    policy_versions: npt.NDArray[np.uint32]
    action_ages: Float32Array
    off_period: BoolArray
    begun: bool
    ended: bool
    reason: str

    @property
    def steps(self) -> int:
        """T."""
        return len(self.rewards)

    @property
    def demonstrated(self) -> BoolArray:
        """(T,) steps that no policy drove, but somebody worth learning from."""
        shown: BoolArray = self.policy_versions == DEMONSTRATION
        return shown

    def kind(self) -> str:
        """What it counts as."""
        if self.begun and self.ended:
            return "whole"
        if not self.begun:
            return "without a known beginning"
        return "without a known end"


@dataclass(slots=True)
class _Open:
    """An episode that goes on: pieces of its columns, by their names."""

    bridge: str
    first_step: int
    begun: bool
    led_to: AnyArray
    steps: int = 0
    bytes: int = 0
    pieces: list[dict[str, AnyArray]] = field(default_factory=list)


class Episodes:
    """Joins batches to episodes; `counts` says of each kind how many, `steps` how many steps came."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.steps = self.demonstrated_steps = 0
        self._open: dict[int, _Open] = {}
        self._next: dict[int, int] = {}
        """Of each car between two episodes: the index of its next step."""
        self._stream = ""

    def of(self, driven: Iterable[Driven]) -> Iterator[Episode]:
        """The episodes in batches that come stream after stream, each as soon as its last step is here."""
        for one in driven:
            if one.stream != self._stream:
                yield from self._cut_all()
                self._stream, self._next = one.stream, {}
            yield from self._read(one)
        yield from self._cut_all()

    def _read(self, one: Driven) -> Iterator[Episode]:
        batch = one.batch
        reasons = {record.row: record for record in batch.episodes}
        last = row = 0
        for car, first, steps in zip(
            batch.run_cars.tolist(), batch.run_first_steps.tolist(), batch.run_lengths.tolist(), strict=True
        ):
            begin, last = last, last + steps
            rows = batch.observations[row : row + steps + 1]
            row += steps + 1
            held = self._open.get(car)
            if held is not None and not (
                held.first_step + held.steps == first and np.array_equal(held.led_to, rows[0])
            ):
                yield self._closed(car, ended=False)
                held = None
            if held is None:
                begun = first == self._next.get(car, 0)
                held = self._open[car] = _Open(one.bridge, first, begun, rows[-1])
            _add(held, rows, batch, slice(begin, last))
            if batch.terminated[last - 1] or batch.truncated[last - 1]:
                record = reasons.get(last - 1)
                if record is not None:
                    held.begun = record.steps == held.steps
                yield self._closed(car, ended=True, reason="" if record is None else record.reason)
                self._next[car] = first + steps
            elif held.steps >= MOST_STEPS:
                yield self._closed(car, ended=False)
        while sum(held.bytes for held in self._open.values()) > MOST_BYTES:
            yield self._closed(max(self._open, key=lambda car: self._open[car].bytes), ended=False)

    def _cut_all(self) -> Iterator[Episode]:
        for car in list(self._open):
            yield self._closed(car, ended=False)

    def _closed(self, car: int, ended: bool, reason: str = "") -> Episode:
        held = self._open.pop(car)
        self._next.pop(car, None)
        columns = {name: np.concatenate([piece[name] for piece in held.pieces]) for name in held.pieces[0]}
        columns["observations"] = np.concatenate([columns["observations"], held.led_to[None]])
        episode = Episode(
            stream=self._stream,
            bridge=held.bridge,
            car=car,
            first_step=held.first_step,
            begun=held.begun,
            ended=ended,
            reason=reason,
            **columns,
        )
        self.counts[episode.kind()] += 1
        self.steps += episode.steps
        self.demonstrated_steps += int(episode.demonstrated.sum())
        return episode


def _add(held: _Open, rows: AnyArray, batch: Batch, steps: slice) -> None:
    """Copy these steps of the batch, whose rows are given, so that the batch itself can go."""
    piece = {name: getattr(batch, name)[steps].copy() for name in _COLUMNS}
    held.pieces.append(piece | {"observations": rows[:-1].copy()})
    held.led_to = rows[-1].copy()
    held.steps += len(rows) - 1
    held.bytes += sum(column.nbytes for column in held.pieces[-1].values())

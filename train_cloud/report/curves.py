"""The curves of a run, over its steps and over the hours, with the interruptions between its lives."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from racing.car import FloatArray
from train_cloud.history_table import Point
from train_cloud.report.facts import Facts

HOUR: Final = 3600.0
_GREATEST: Final = 1e30


class Interruption(NamedTuple):
    """Between two lives of the trainer: last seen, seen again (Unix s), at which steps it stopped and went on."""

    stopped: float
    went_on: float
    stopped_at_steps: int
    went_on_at_steps: int
    lives: int


class Curve(NamedTuple):
    """What is drawn together: title, unit, and of each line its name, tag and colour; `racing`: of such a run only.

    `share`: from 0 to 1, told in percent.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str, str], ...]
    racing: bool = False
    share: bool = False


CURVES: Final = (
    Curve("Return of an episode", "mean of the newest 100", (("return", "drive/mean_reward", "policy"),)),
    Curve("Driven an episode", "m", (("metres", "drive/mean_metres", "policy"),), racing=True),
    Curve(
        "Episodes that end badly",
        "%",
        (("off the track", "drive/off_track_rate", "policy"), ("crash", "drive/collision_rate", "human")),
        racing=True,
        share=True,
    ),
    Curve("Critic's loss", "", (("critic", "train/critic_loss", "policy"),)),
    Curve("Actor's loss", "", (("actor", "train/actor_loss", "policy"),)),
    Curve("Loss", "", (("loss", "train/loss", "policy"), ("value", "train/value_loss", "human"))),
    Curve("Updates made for those asked for", "", (("lately", "rate/update_ratio", "policy"),)),
    Curve("Steps a second", "1/s", (("steps", "rate/steps_per_second", "policy"),)),
)
"""In the order in which a person looks at them."""


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """The places of the points on both axes; `breaks` (K,) is True where a life's first point is."""

    steps: FloatArray
    hours: FloatArray
    breaks: "np.typing.NDArray[np.bool_]"
    begun: float

    def hours_at(self, at: float) -> float:
        """Hours since the first point."""
        return (at - self.begun) / HOUR


def times_of(points: Sequence[Point]) -> Times:
    """Where these points, oldest first, lie."""
    at = np.array([point.at for point in points], np.float64)
    lives = np.array([point.life for point in points], np.int64)
    begun = float(at[0]) if len(at) else 0.0
    steps = np.array([point.steps for point in points], np.float64)
    return Times(steps, (at - begun) / HOUR, np.diff(lives, prepend=lives[:1]) != 0, begun)


def interruptions(points: Sequence[Point]) -> list[Interruption]:
    """Where one life follows another; none is invented where the points tell of one life only."""
    pairs = itertools.pairwise(points)
    return [
        Interruption(before.at, after.at, before.steps, after.steps, after.life - before.life)
        for before, after in pairs
        if after.life != before.life
    ]


def values_of(points: Sequence[Point], tag: str) -> FloatArray:
    """A curve's value at each point (K,); not a number where it has none."""
    values = np.array([point.values.get(tag, np.nan) for point in points], np.float64)
    return np.where(np.abs(values) < _GREATEST, values, np.nan)


def present(facts: Facts) -> list[Curve]:
    """The curves that this run has at least two points of."""
    return [
        curve
        for curve in CURVES
        if (facts.racing or not curve.racing)
        and any(np.isfinite(values_of(facts.points, tag)).sum() > 1 for _, tag, _ in curve.lines)
    ]


def broken(x: FloatArray, y: FloatArray, breaks: "np.typing.NDArray[np.bool_]") -> tuple[FloatArray, FloatArray]:
    """The line with a gap before each life's first point."""
    at = np.flatnonzero(breaks)
    return np.insert(x, at, np.nan), np.insert(y, at, np.nan)

"""How a run's curves went: since when nothing has got better, and whether what was learned is lost again.

Curves of learning are noisy. So each is looked at as the running median of its newest points, and only what is better
than ever before by more than a share of the curve's whole range counts as better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from train_cloud.history_table import Point

WINDOW: Final = 9
"""Points of a running median; a report comes each ten seconds."""
LEAST_POINTS: Final = 2 * WINDOW
"""With fewer, nothing is said of a curve."""
BETTER: Final = 0.02
"""Of a curve's range: less is noise."""
LOST: Final = 1 / 3
"""Of what a curve had gained: so much less is a fall."""
_OUT_OF_NOISE: Final = 4.0
"""So many times its noise a curve must have gained before a fall is one."""


class Measure(NamedTuple):
    """A curve that tells how well it goes: its tag, what it is to people, its unit, and 1 where more is better."""

    tag: str
    name: str
    unit: str
    sign: int


MEASURES: Final = (
    Measure("drive/mean_metres", "the way of an episode", "m", 1),
    Measure("drive/mean_reward", "the reward of an episode", "", 1),
    Measure("drive/policy_lap_s", "the policy's best lap", "s", -1),
    Measure("judged/best_clean_laps", "clean laps when judged", "", 1),
)
_FALLING: Final = 2
"""The first so many of MEASURES can fall; the first of them that there is counts."""


@dataclass(frozen=True, slots=True)
class Since:
    """`measure` was last better than ever before `steps` environment steps and `seconds` ago, at `best`; now `now`."""

    measure: Measure
    steps: int
    seconds: float
    best: float
    now: float


@dataclass(frozen=True, slots=True)
class Course:
    """What the curves say.

    Attributes:
        better: of the measure that got better last; None while there are too few points.
        fallen: the measure that has lost what it had gained, if it has.
    """

    better: Since | None = None
    fallen: Since | None = None


def course_of(points: Sequence[Point]) -> Course:
    """The course of a run with these points, in their order."""
    found: list[Since] = []
    fallen: Since | None = None
    looked_at = 0
    for number, measure in enumerate(MEASURES):
        marks = [(point, point.values[measure.tag]) for point in points if measure.tag in point.values]
        if len(marks) < LEAST_POINTS:
            continue
        smooth = _running_median([measure.sign * value for _, value in marks])
        since, gained, noise = _since(measure, marks, smooth)
        found.append(since)
        looked_at += 1
        lost = measure.sign * (since.best - since.now)
        if number < _FALLING and looked_at == 1 and gained > _OUT_OF_NOISE * noise and lost > LOST * gained:
            fallen = since
    return Course(min(found, key=lambda since: since.steps, default=None), fallen)


def _since(measure: Measure, marks: list[tuple[Point, float]], smooth: list[float]) -> tuple[Since, float, float]:
    """Since when it has not got better, what it had gained from where it began, and its noise; more is better."""
    ranged = smooth[WINDOW // 2 :]
    least = BETTER * (max(ranged) - min(ranged))
    best, at = ranged[0], WINDOW // 2
    for place, value in enumerate(ranged, WINDOW // 2):
        if value - best > least:
            best, at = value, place
    last, then = marks[-1][0], marks[at][0]
    noise = median(abs(measure.sign * value - middle) for (_, value), middle in zip(marks, smooth, strict=True))
    sign = measure.sign
    told = Since(measure, last.steps - then.steps, last.at - then.at, sign * best, sign * ranged[-1])
    return told, best - ranged[0], noise


def _running_median(values: list[float]) -> list[float]:
    return [median(values[max(0, end - WINDOW) : end]) for end in range(1, len(values) + 1)]

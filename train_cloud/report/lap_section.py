"""The report's section about laps: the best one on the map and beside others, the table, the newest clean ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from racing.car import FloatArray
from racing.sectors import SECTORS
from racing.track import Track
from train_cloud.lap_table import LapRow
from train_cloud.report.charts import Axis, Line, chart, group
from train_cloud.report.courses import Course, behind, where_lost
from train_cloud.report.facts import Facts
from train_cloud.report.markup import Markup, joined, tag
from train_cloud.report.numbers import at_text, lap, number, numbers, plain, signed, tick_texts
from train_cloud.report.track_map import speed_scale, track_map
from train_cloud.report.words import judged_best
from train_cloud.spot_table import Spot

_YARDSTICK = "The reference driver drives a simulated GT3 car: to laps of the game it is a yardstick, no rival."
NEWEST = 12
"""Clean laps that the table at the end shows."""


@dataclass(frozen=True, slots=True)
class Courses:
    """The laps that are drawn; None for each that is not known. `unusable` says why a trace is none."""

    best: Course | None = None
    newest: Course | None = None
    human: Course | None = None
    reference: Course | None = None
    unusable: list[str] = field(default_factory=list)


def lap_sections(facts: Facts, courses: Courses) -> list[Markup | None]:
    """What a run of racing has driven."""
    parts: list[Markup | None] = [tag("h2", "The best lap")]
    if courses.best is None:
        parts.append(tag("p", _no_best(facts, courses)))
    else:
        parts += _the_best(facts, courses, courses.best)
    if courses.best is None and facts.track is not None:
        spots = facts.history.spots
        parts.append(tag("figure", track_map(facts.track, None, courses.reference, spots), class_="alone"))
        parts.append(tag("p", _left(spots), class_="small soft"))
    return [*parts, tag("h2", "Laps"), _table(facts, courses), *_newest(facts)]


def _no_best(facts: Facts, courses: Courses) -> str:
    if courses.unusable:
        return " ".join(courses.unusable)
    if number(facts.metrics, "clean_laps"):
        return (
            "Clean laps are counted, but the history holds the course of none: only a lap of which every step is "
            "stored has one."
        )
    return "The policy has driven no clean lap, so there is none to show."


def _the_best(facts: Facts, courses: Courses, best: Course) -> list[Markup | None]:
    others = [one for one in (courses.human, courses.reference) if one is not None]
    told = f"Version {best.version} of the policy drove it in {lap(best.time)}, at {best.steps:,} steps of the run."
    against = [f"{signed(best.time - one.time)} s against the {one.name}" for one in others]
    told += f" That is {' and '.join(against)}." if against else " Nothing is known to hold it against."
    strips = _strips(best, others)
    if facts.track is None:
        return [tag("p", told), strips, *_lost(best, others)]
    return [
        tag("p", told),
        tag(
            "div",
            tag("div", *_picture(facts.track, best, courses.reference, facts.history.spots), *_lost(best, others)),
            strips,
            class_="lap",
        ),
    ]


def _picture(track: Track, best: Course, reference: Course | None, spots: Sequence[Spot]) -> list[Markup]:
    caption = f"{track.name}, {track.length:,.0f} m. The line of the best lap, coloured by its speed"
    caption += "; dashed: the reference driver's." if reference is not None else "."
    return [
        tag("figure", track_map(track, best, reference, spots), speed_scale(best)),
        tag("p", caption, class_="small soft"),
        tag("p", _left(spots), class_="small soft"),
    ]


def _left(spots: Sequence[Spot]) -> str:
    """What the map shows of where cars left the track."""
    if not spots:
        return "No bridge told of a place where a car left the track."
    places = "place where a car" if len(spots) == 1 else f"{len(spots)} newest places where cars"
    return f"Crosses: the {places} left the track, as the bridges told. How many episodes ended so is among the curves."


def _strips(best: Course, others: Sequence[Course]) -> Markup:
    """Delta, speed and inputs over the distance."""
    every = [*reversed(others), best]
    thirds = [float(best.metres[-1]) * n / SECTORS for n in range(1, SECTORS)]
    axis = Axis(0.0, float(best.metres[-1]), "m", marks=thirds, mark_kind="sector", tell=_metres)

    def lines(column: str, factor: float = 1.0, steps: bool = False) -> list[Line]:
        return [Line(one.name, one.metres, factor * getattr(one, column), _kind(one), steps=steps) for one in every]

    delta = None
    if others:
        deltas = [Line(f"against {one.name}", best.metres, behind(best, one), _kind(one)) for one in others]
        lost = ", ".join(f"{signed(float(line.y[-1]))} s {line.name}" for line in deltas)
        delta = chart(
            *("Delta of the best lap", "s, above 0 is slower", deltas, axis),
            height=110,
            zero=True,
            labelled=False,
            summary=f"Delta over the distance: at the end {lost}",
        )
    speeds = ", ".join(f"{one.name} {3.6 * one.speed.min():.0f} to {3.6 * one.speed.max():.0f} km/h" for one in every)
    pedal_ticks = (-1.0, 0.0, 1.0)
    return group(
        delta,
        chart("Speed", "km/h", lines("speed", 3.6), axis, height=170, labelled=False, summary=f"Speed: {speeds}"),
        chart(
            *("Pedals", "throttle above 0, brake below", lines("pedals"), axis),
            height=90,
            limits=(-1.08, 1.08),
            zero=True,
            y_ticks=pedal_ticks,
            labelled=False,
            keyed=False,
            tell=_shares,
        ),
        chart(
            *("Steering", "of full lock, left above 0", lines("steer"), axis),
            height=90,
            zero=True,
            labelled=False,
            keyed=False,
            tell=_shares,
        ),
        chart("Gear", "", lines("gear", steps=True), axis, height=64, y_ticks=_gears(every), keyed=False),
    )


def _lost(best: Course, others: Sequence[Course]) -> list[Markup]:
    """In words, where the best lap loses most."""
    parts = []
    for one in others:
        places = where_lost(best, one)
        if places:
            told = [f"{first:,.0f}\u2013{last:,.0f} m ({signed(lost, 2)} s)" for first, last, lost in places]
            parts.append(
                tag("p", tag("b", f"Most is lost to the {one.name} at "), ", ".join(told), ".", class_="small")
            )
        else:
            parts.append(tag("p", f"Nowhere does it lose to the {one.name}.", class_="small"))
    return parts


def _table(facts: Facts, courses: Courses) -> Markup:
    """The laps that one wants to know of, with sectors and deltas."""
    metrics = facts.metrics
    human = courses.human.time if courses.human else number(metrics, "human_lap_s")
    reference = courses.reference.time if courses.reference else None
    judged = judged_best(facts)
    best = number(metrics, "best_lap_s")
    explored = ("Best clean lap while learning", number(metrics, "policy_lap_s") or best)
    rows = [
        (*explored, numbers(metrics.get("policy_sectors_s"))),
        ("Best without exploration", number(judged, "best_lap_s"), None),
        ("Newest clean lap", number(metrics, "newest_lap_s"), numbers(metrics.get("newest_sectors_s"))),
        ("Best without a policy (human)", human, numbers(metrics.get("human_sectors_s"))),
        ("Reference driver, in the simulator", reference, courses.reference.sectors if courses.reference else None),
    ]
    heads = ["", "Lap", *(f"S{n}" for n in range(1, SECTORS + 1)), "to reference", "to human"]
    head = tag("tr", *(tag("th", text, class_="n" if text else None, scope="col") for text in heads))
    body = [_row(name, time, sectors, reference, human) for name, time, sectors in rows]
    count = f"{plain(number(metrics, 'laps'), 0)} laps, {plain(number(metrics, 'clean_laps'), 0)} of them clean"
    return joined(
        [
            tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide"),
            tag(
                "p",
                f"{count}. Times in min:s, sectors (thirds of the lap) and differences in s. {_YARDSTICK}",
                class_="small soft",
            ),
        ]
    )


def _row(
    name: str, time: float | None, sectors: Sequence[float] | None, reference: float | None, human: float | None
) -> Markup:
    known = [*(sectors or ())][:SECTORS]
    cells = [lap(time), *(f"{one:.3f}" for one in known), *["\u2013"] * (SECTORS - len(known))]
    for other in (reference, human):
        cells.append(signed(time - other) if time is not None and other is not None and time != other else "\u2013")
    return tag("tr", tag("th", name, scope="row"), *(tag("td", text, class_="n") for text in cells))


def _newest(facts: Facts) -> list[Markup | None]:
    rows = facts.history.laps[:NEWEST]
    if not rows:
        return [tag("p", "The history holds no clean lap.")]
    fastest = min(row.time for row in facts.history.laps)
    heads = ["Taken in", "Steps", "Driven by", "Lap", *(f"S{n}" for n in range(1, SECTORS + 1)), "to best"]
    head = tag("tr", *(tag("th", text, class_="n" if n else None, scope="col") for n, text in enumerate(heads)))
    body = [_newest_row(row, fastest) for row in rows]
    of = len(facts.history.laps)
    return [
        tag("h3", f"The newest {len(rows)} of {of} clean laps kept"),
        tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide"),
    ]


def _newest_row(row: LapRow, fastest: float) -> Markup:
    by = "human" if row.version == 0 else f"version {row.version}"
    sectors = [*row.sectors][:SECTORS]
    cells = [
        f"{row.steps:,}",
        by,
        lap(row.time),
        *(f"{one:.3f}" for one in sectors),
        *["\u2013"] * (SECTORS - len(sectors)),
    ]
    cells.append(signed(row.time - fastest) if row.time > fastest else "best")
    return tag("tr", tag("td", at_text(row.at), class_="t"), *(tag("td", text, class_="n") for text in cells))


def _kind(course: Course) -> str:
    if course.version is not None:
        return "policy"
    return "human" if "human" in course.name else "reference"


def _metres(values: FloatArray) -> list[str]:
    return [f"{value:,.0f}" for value in values]


def _shares(values: FloatArray) -> list[str]:
    return [f"{100 * value:.0f} %".replace("-", "\u2212") for value in values]


def _gears(courses: Sequence[Course]) -> list[float]:
    gears = np.concatenate([one.gear for one in courses])
    return [float(gear) for gear in range(int(gears.min()), int(gears.max()) + 1)][:: 1 + int(np.ptp(gears)) // 4]


def lap_tick_texts(values: FloatArray) -> list[str]:
    """Lap times at an axis: `1:05`, with tenths where ticks are close."""
    if len(values) > 1 and values[1] - values[0] < 1.0:
        return [f"{int(value // 60)}:{value % 60:04.1f}" for value in values]
    return [f"{int(value // 60)}:{value % 60:02.0f}" for value in values] if len(values) else tick_texts(values)

"""The report's curves: each beside itself, over the run's steps and over the time that it took."""

from collections.abc import Sequence

import numpy as np

from racing.car import FloatArray
from train_cloud.history_table import Point
from train_cloud.lap_table import LapRow
from train_cloud.report.charts import Axis, Line, chart
from train_cloud.report.curves import HOUR, Curve, Times, broken, interruptions, present, times_of, values_of
from train_cloud.report.facts import Facts
from train_cloud.report.lap_section import lap_tick_texts
from train_cloud.report.markup import Markup, tag
from train_cloud.report.numbers import at_text, lasted, plain, tick_texts, ticks

_SLOWEST = 1.5
"""Times the best lap: what was slower lies outside the chart, which would tell nothing of the others else."""


def curve_section(facts: Facts, reference: float | None, human: float | None) -> list[Markup | None]:
    """All curves that there are points of; `reference` and `human` are lap times, s."""
    points = facts.points
    head = tag("h2", "Curves")
    curves = present(facts)
    laps = facts.history.laps
    if not curves and not laps:
        return [head, tag("p", "There are too few points to draw a curve of.")]
    times = times_of(points)
    axes = _axes(points, times)
    rows: list[Markup] = []
    if laps:
        rows += _lap_times(laps, times, axes, reference, human)
    for curve in curves:
        rows += _pair(curve, points, times, axes)
    return [head, tag("p", _about(points), class_="small soft"), tag("div", *rows, class_="two")]


def _about(points: Sequence[Point]) -> str:
    cut = len(interruptions(points))
    told = f"{len(points):,} points. Left over the environment steps, right over the time since the first point. "
    if cut:
        return told + (
            f"A dotted line marks where one of {cut} interruptions lay; over time, the tinted stretch is when nothing "
            "was trained."
        )
    return told + "There was no interruption."


def _axes(points: Sequence[Point], times: Times) -> tuple[Axis, Axis]:
    cuts = interruptions(points)
    steps, hours = (times.steps, times.hours) if len(points) else (np.zeros(1), np.zeros(1))
    by_hours, unit = (1.0, "h") if hours[-1] >= 1.0 else (60.0, "min")

    def tell(values: FloatArray) -> list[str]:
        return tick_texts(np.round(by_hours * values, 9))

    bands = [(times.hours_at(cut.stopped), times.hours_at(cut.went_on)) for cut in cuts]
    whole = Axis(0.0, max(float(steps.max()), 1.0), "steps", marks=[float(cut.stopped_at_steps) for cut in cuts])
    span = max(float(hours.max()), 1e-6)
    at = [float(one) / by_hours for one in ticks(0.0, span * by_hours, 5)]
    return whole, Axis(0.0, span, unit, tell, [band[1] for band in bands], bands, ticks_at=at)


def _pair(curve: Curve, points: Sequence[Point], times: Times, axes: tuple[Axis, Axis]) -> list[Markup]:
    factor = 100.0 if curve.share else 1.0
    drawn = [(name, factor * values_of(points, tag_), kind) for name, tag_, kind in curve.lines]
    drawn = [(name, y, kind) for name, y, kind in drawn if np.isfinite(y).any()]
    ends = [y[np.isfinite(y)] for _, y, _ in drawn]
    told = [
        f"{name} from {plain(float(y[0]), 3)} to {plain(float(y[-1]), 3)}"
        for (name, _, _), y in zip(drawn, ends, strict=True)
    ]
    summary = f"{curve.title}: {'; '.join(told)}"
    pair = []
    for axis, x in zip(axes, (times.steps, times.hours), strict=True):
        lines = [Line(name, *broken(x, y, times.breaks), kind) for name, y, kind in drawn]
        over = curve.unit if axis is axes[0] else f"{curve.unit}{', ' if curve.unit else ''}over time"
        pair.append(chart(curve.title, over, lines, axis, summary=f"{summary}, over {axis.unit}"))
    return pair


def _lap_times(
    laps: Sequence[LapRow], times: Times, axes: tuple[Axis, Axis], reference: float | None, human: float | None
) -> list[Markup]:
    rows = sorted(laps, key=lambda row: row.at)
    at_steps = np.array([row.steps for row in rows], np.float64)
    begun = times.begun or rows[0].at
    at_hours = np.array([(row.at - begun) / HOUR for row in rows])
    lap_times = np.array([row.time for row in rows])
    by_human = np.array([row.version == 0 for row in rows])
    best = float(lap_times.min())
    known = [one for one in (reference, human) if one is not None]
    low = min(best, *known) if known else best
    high = max(min(float(lap_times.max()), _SLOWEST * best), *known, best * 1.02)
    room = 0.08 * (high - low)
    outside = int((lap_times > high + room).sum())
    summary = f"{len(rows)} clean laps, the best {best:.3f} s"
    unit = "min:s" + (f", {outside} slower than {_SLOWEST:g} times the best left out" if outside else "")
    pair = []
    for axis, x in zip(axes, (at_steps, at_hours), strict=True):
        lines = [Line("policy", x[~by_human], lap_times[~by_human], "policy", dots=True)]
        if by_human.any():
            lines.append(Line("human", x[by_human], lap_times[by_human], "human", dots=True))
        ends = np.array([axis.low, axis.high])
        if reference is not None:
            lines.append(Line("reference driver", ends, np.full(2, reference), "reference"))
        if human is not None:
            lines.append(Line("human's best", ends, np.full(2, human), "human"))
        lines = [line for line in lines if len(line.x)]
        limits = (low - room, high + room)
        over = unit if axis is axes[0] else f"{unit}, over time"
        pair.append(
            chart("Clean laps", over, lines, axis, height=170, limits=limits, tell=lap_tick_texts, summary=summary)
        )
    return pair


def interruption_section(facts: Facts) -> list[Markup | None]:
    """What the run survived: lives of the trainer, instances, and why they ended."""
    cuts = interruptions(facts.points)
    resumes = facts.metrics.get("resumes")
    parts: list[Markup | None] = [tag("h2", "Interruptions survived")]
    if isinstance(resumes, int) and not isinstance(resumes, bool):
        times = {1: "once", 2: "twice"}.get(resumes, f"{resumes} times")
        told = f"The run was taken up again from a checkpoint {times}." if resumes else "The run was never interrupted."
        parts.append(tag("p", told))
    elif not cuts:
        parts.append(tag("p", "How often the run was taken up again is not known."))
    if cuts:
        heads = ["Stopped", "Went on", "Pause", "Stopped at", "Went on at"]
        head = tag("tr", *(tag("th", text, class_="n" if n else None, scope="col") for n, text in enumerate(heads)))
        body = [
            tag(
                "tr",
                tag("td", at_text(cut.stopped), class_="t"),
                tag("td", at_text(cut.went_on), class_="n"),
                tag("td", lasted(cut.went_on - cut.stopped), class_="n"),
                tag("td", f"{cut.stopped_at_steps:,} steps", class_="n"),
                tag("td", f"{cut.went_on_at_steps:,} steps", class_="n"),
            )
            for cut in cuts
        ]
        parts.append(tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide"))
        parts.append(
            tag(
                "p",
                "From the last point before to the first after: what was trained meanwhile and lost with "
                "an instance is trained again.",
                class_="small soft",
            )
        )
    return parts

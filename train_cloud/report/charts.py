"""Line charts as SVG that needs no script and no style attribute: their width is the page's, their text stays legible.

Lines lie in a drawing that is stretched to the page's width; text and grid are placed in percent, so that they are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from racing.car import FloatArray
from train_cloud.report.markup import Markup, joined, tag
from train_cloud.report.numbers import thinned, tick_texts, ticks

MOST_PLACES = 700
"""Of one line: more than that no screen of a report shows."""
_WIDE = 1000.0
_LEAST_SHARE = 0.25
"""Of the width, that the last text on the x axis takes with its unit where a page is narrow."""
_ROOM = 0.06
"""Of a chart's height, that stays free above and below its lines."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """What is drawn: `x` and `y` (K,), gaps where y is not finite; `kind` is its colour's class in the page's style.

    `dots`: single places, not joined. `steps`: a value holds until the next.
    """

    name: str
    x: FloatArray
    y: FloatArray
    kind: str
    dots: bool = False
    steps: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """What all charts of a group share: from where to where x goes, how its ticks are told, and what is marked there.

    Attributes: marks: vertical lines; bands: grey stretches.
    """

    low: float
    high: float
    unit: str
    tell: Callable[[FloatArray], Sequence[str]] = tick_texts
    marks: Sequence[float] = ()
    bands: Sequence[tuple[float, float]] = ()
    most_ticks: int = 5
    mark_kind: str = "mark"
    ticks_at: Sequence[float] = field(default=())

    def percent(self, x: float) -> str:
        """Where x lies, as SVG says it."""
        return f"{100.0 * (x - self.low) / (self.high - self.low or 1.0):.2f}%"

    @property
    def places(self) -> FloatArray:
        """Where its ticks are."""
        return np.array(self.ticks_at) if len(self.ticks_at) else ticks(self.low, self.high, self.most_ticks)


def chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    axis: Axis,
    *,
    height: int = 120,
    limits: tuple[float | None, float | None] = (None, None),
    zero: bool = False,
    y_ticks: Sequence[float] = (),
    labelled: bool = True,
    tell: Callable[[FloatArray], Sequence[str]] = tick_texts,
    summary: str = "",
    keyed: bool = True,
) -> Markup:
    """A chart of `lines`, `height` px high.

    `limits` are those of y where they are not the lines'; `zero` draws a line at 0; `labelled`: x has its numbers, as
    the lowest chart of a group has; `summary` says in words what is seen;
    `keyed`: it is said whose line is whose.
    """
    low, high = _limits(lines, limits)
    at = np.array(y_ticks) if len(y_ticks) else ticks(low, high, max(2, height // 36))

    def down(value: float) -> float:
        return height * (high - value) / (high - low)

    grid = [
        *(
            tag("rect", class_="band", x=axis.percent(a), width=_share(axis, a, b), y=0, height=height)
            for a, b in axis.bands
        ),
        *(_across(down(value), "zero" if zero and value == 0.0 else "grid") for value in at),
        *(_upright(axis.percent(x), height, "grid") for x in axis.places),
        *(_upright(axis.percent(x), height, axis.mark_kind) for x in axis.marks),
    ]
    texts = [
        tag("text", text, x=-6, y=f"{down(value) + 3.5:.1f}", class_="y")
        for value, text in zip(at, tell(at), strict=True)
    ]
    if labelled:
        texts += _x_texts(axis, height)
    drawn = [_drawn(line, axis, low, high) for line in lines]
    picture = tag(
        "svg",
        tag("title", summary or f"{title} ({unit})" if unit else title),
        *grid,
        tag(
            "svg",
            *drawn,
            x=0,
            y=0,
            width="100%",
            height=height,
            viewBox=f"0 0 {_WIDE:.0f} {_WIDE:.0f}",
            preserveAspectRatio="none",
            class_="lines",
        ),
        *texts,
        class_="plot",
        width="100%",
        height=height + (20 if labelled else 2),
        role="img",
    )
    head = tag("figcaption", tag("b", title), tag("span", unit, class_="unit") if unit else None, keyed and keys(lines))
    return tag("figure", head, tag("div", picture, class_="room"), class_="chart")


def keys(lines: Sequence[Line]) -> Markup | None:
    """Whose line is whose; None where there is but one."""
    if len(lines) < 2:
        return None
    return tag("span", *(tag("span", line.name, class_=f"key {line.kind}") for line in lines), class_="keys")


def _limits(lines: Sequence[Line], wanted: tuple[float | None, float | None]) -> tuple[float, float]:
    known = [line.y[np.isfinite(line.y)] for line in lines]
    values = np.concatenate([*known, np.empty(0)])
    low = float(values.min()) if len(values) else 0.0
    high = float(values.max()) if len(values) else 1.0
    low, high = low if wanted[0] is None else wanted[0], high if wanted[1] is None else wanted[1]
    # Of two numbers that are nearly the same the difference may be no number any more.
    if not high - low > 1e-9 * max(1.0, abs(low), abs(high)):
        half = 0.5 * max(1.0, 0.1 * abs(low))
        low, high = low - half, low + half
    room = _ROOM * (high - low)
    return low - (room if wanted[0] is None else 0.0), high + (room if wanted[1] is None else 0.0)


def _drawn(line: Line, axis: Axis, low: float, high: float) -> Markup | None:
    rows = thinned(len(line.x), MOST_PLACES)
    x = (line.x[rows] - axis.low) / (axis.high - axis.low or 1.0) * _WIDE
    y = (high - line.y[rows]) / (high - low) * _WIDE
    seen = np.isfinite(x) & np.isfinite(y)
    parts, pen = list[str](), False
    for here, across, down in zip(seen.tolist(), x.tolist(), y.tolist(), strict=True):
        if not here:
            pen = False
        elif line.dots:
            parts.append(f"M{across:.1f} {down:.1f}h0")
        elif pen and line.steps:
            parts.append(f"H{across:.1f}V{down:.1f}")
        else:
            parts.append(f"{'L' if pen else 'M'}{across:.1f} {down:.1f}")
            pen = True
    shape = f"{line.kind} dots" if line.dots else line.kind
    return tag("path", d="".join(parts), class_=shape) if parts else None


def _across(y: float, kind: str) -> Markup:
    return tag("line", class_=kind, x1=0, x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}")


def _upright(x: str, height: int, kind: str) -> Markup:
    return tag("line", class_=kind, x1=x, x2=x, y1=0, y2=height)


def _share(axis: Axis, first: float, last: float) -> str:
    return f"{100.0 * (last - first) / (axis.high - axis.low or 1.0):.2f}%"


def _x_texts(axis: Axis, height: int) -> list[Markup]:
    places = axis.places
    texts = list(axis.tell(places))
    if texts and axis.unit:
        texts[-1] += f" {axis.unit}"
    told = []
    shares = (places - axis.low) / (axis.high - axis.low or 1.0)
    for number, (x, text, share) in enumerate(zip(places, texts, shares, strict=True)):
        if number == len(texts) - 2 and shares[-1] - share < _LEAST_SHARE:
            continue
        where = "x first" if share < 0.03 else "x last" if share > 0.93 else "x"
        told.append(tag("text", text, x=axis.percent(float(x)), y=height + 15, class_=where))
    return told


def group(*charts: Markup | None) -> Markup:
    """Charts under each other that share an axis."""
    return tag("div", joined(charts), class_="group")

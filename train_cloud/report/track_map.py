"""The track from above as SVG, with the best lap's line in the colours of its speed."""

from collections.abc import Callable, Sequence

import numpy as np

from racing.car import FloatArray
from racing.sectors import SECTORS
from racing.track import Track
from train_cloud.report.courses import Course
from train_cloud.report.markup import Markup, tag
from train_cloud.spot_table import Spot

SPEED_COLOURS = ("#c8324f", "#e8743b", "#eab543", "#5fb38a", "#1f8fb0", "#2f5fc4")
"""From slow to fast: apart from each other for eyes that see no red or no green, legible on white and on black."""
_WIDE = 640.0
_MARGIN = 26.0
_SHADES = 24
_MOST_POINTS = 900
_FARTHEST = 50.0
"""m from the centreline that a cross lies, at most."""


def track_map(track: Track, course: Course | None, other: Course | None = None, spots: Sequence[Spot] = ()) -> Markup:
    """The track's edges, `course` by its speed, `other` as a thin line under it, the line and the sectors' borders.

    `spots` are crosses; one that is nowhere near the track is not drawn.
    """
    edges = [_closed(_edge(track, side)) for side in (1, -1)]
    corners = np.concatenate(edges)
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = min((_WIDE - 2 * _MARGIN) / max(high[0] - low[0], 1.0), 560.0 / max(high[1] - low[1], 1.0))
    wide = max(320.0, scale * (high[0] - low[0]) + 2 * _MARGIN)
    tall = scale * (high[1] - low[1]) + 2 * _MARGIN
    middle = 0.5 * (low + high)

    def place(points: FloatArray) -> FloatArray:
        return np.stack(
            [0.5 * wide + scale * (points[:, 0] - middle[0]), 0.5 * tall - scale * (points[:, 1] - middle[1])], 1
        )

    road = tag("path", d=_path(place(edges[0])) + "Z" + _path(place(edges[1])) + "Z", class_="road")
    shown = [road]
    if other is not None:
        shown.append(tag("path", d=_path(place(_line(track, other))), class_="under reference"))
    if course is not None:
        shown += _coloured(place(_line(track, course)), course.speed)
    shown += _crosses(track, spots, place)
    shown += _borders(track, place)
    said = f"Map of {track.name}, {track.length:.0f} m" + (", the best lap coloured by speed" if course else "")
    return tag("svg", tag("title", said), *shown, class_="map", viewBox=f"0 0 {wide:.0f} {tall:.0f}", role="img")


def speed_scale(course: Course) -> Markup:
    """Which colour is which speed."""
    count = len(SPEED_COLOURS)
    boxes = [
        tag("rect", x=f"{100 * place / _SHADES:.2f}%", y=0, width=f"{100 / _SHADES + 0.3:.2f}%", height=8, fill=shade)
        for place, shade in enumerate(_shades())
    ]
    slow, fast = 3.6 * float(course.speed.min()), 3.6 * float(course.speed.max())
    texts = [
        tag("text", f"{slow + share * (fast - slow):.0f}{unit}", x=f"{100 * share:.0f}%", y=24, class_=kind)
        for share, kind, unit in ((0.0, "x first", ""), (0.5, "x", ""), (1.0, "x last", " km/h"))
    ]
    told = f"Speed from {slow:.0f} to {fast:.0f} km/h in {count} colours"
    return tag("svg", tag("title", told), *boxes, *texts, class_="scale", width="100%", height=28, role="img")


def speed_shade(share: float) -> str:
    """The colour of a speed, as #rrggbb; `share` 0 is the slowest, 1 the fastest."""
    at = min(max(share, 0.0), 1.0) * (len(SPEED_COLOURS) - 1)
    first = min(int(at), len(SPEED_COLOURS) - 2)
    low, high = (np.array([int(SPEED_COLOURS[n][k : k + 2], 16) for k in (1, 3, 5)]) for n in (first, first + 1))
    mixed = np.round(low + (at - first) * (high - low)).astype(int)
    return "#" + "".join(f"{part:02x}" for part in mixed)


def line_of(track: Track, course: Course) -> FloatArray:
    """Where the lap's line lies, (PLACES, 2) m."""
    return _line(track, course)


def _line(track: Track, course: Course) -> FloatArray:
    share = course.metres / course.metres[-1]
    return np.asarray(track.position_at(np.mod(share * track.length, track.length), course.gap))


def _edge(track: Track, side: int) -> FloatArray:
    step = max(1, len(track.s) // _MOST_POINTS)
    width = track.width_left if side > 0 else -track.width_right
    return np.asarray(track.position_at(track.s[::step], width[::step]))


def _closed(points: FloatArray) -> FloatArray:
    return np.concatenate([points, points[:1]])


def _shades() -> list[str]:
    return [speed_shade(place / (_SHADES - 1)) for place in range(_SHADES)]


def _coloured(points: FloatArray, speed: FloatArray) -> list[Markup]:
    """The line in pieces of one colour each; neighbours share a point, so that no gap is seen."""
    shades = _shades()
    span = float(np.ptp(speed)) or 1.0
    middle = 0.5 * (speed[1:] + speed[:-1])
    bins = np.clip(((middle - speed.min()) / span * _SHADES).astype(int), 0, _SHADES - 1)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1, [len(bins)]])
    return [
        tag("path", d=_path(points[first : last + 1]), class_="driven", stroke=shades[bins[first]])
        for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    ]


def _crosses(track: Track, spots: Sequence[Spot], place: Callable[[FloatArray], FloatArray]) -> list[Markup]:
    """A cross at each spot."""
    near = [(s, gap) for s, gap in spots if 0.0 <= s <= track.length and abs(gap) <= _FARTHEST]
    if not near:
        return []
    along, across = np.array(near).T
    marks = "".join(
        f"M{x - 3:.1f} {y - 3:.1f}l6 6m0-6l-6 6" for x, y in place(track.position_at(along, across)).tolist()
    )
    return [tag("path", d=marks, class_="left")]


def _borders(track: Track, place: Callable[[FloatArray], FloatArray]) -> list[Markup]:
    """The start and finish line with its direction, and where the sectors end."""
    shown = []
    for number in range(SECTORS):
        s = np.array([track.length * number / SECTORS])
        index = int(s[0] / track.spacing) % len(track.s)
        left, right = track.width_left[index] + 2.0, -track.width_right[index] - 2.0
        ends = place(np.concatenate([track.position_at(s, np.array([gap])) for gap in (left, right)]))
        shown.append(tag("path", d=_path(ends), class_="line" if number == 0 else "border"))
        outward = ends[0] - ends[1]
        outward = outward / max(1e-9, float(np.hypot(*outward)))
        beside = ends[0] + 10.0 * outward
        text = "start" if number == 0 else f"S{number + 1}"
        side = "behind" if outward[0] > 0.4 else "before" if outward[0] < -0.4 else "over"
        shown.append(tag("text", text, x=f"{beside[0]:.1f}", y=f"{beside[1] + 4:.1f}", class_=f"label {side}"))
    return [*shown, _arrow(track, place)]


def _arrow(track: Track, place: Callable[[FloatArray], FloatArray]) -> Markup:
    """Which way the track is driven, beside the start."""
    at, ahead = place(track.position_at(np.array([0.0, 4.0]), np.zeros(2)))
    along = (ahead - at) / max(1e-9, float(np.hypot(*(ahead - at))))
    across = np.array([-along[1], along[0]])
    right = place(track.position_at(np.zeros(1), -track.width_right[:1]))[0]
    aside = (right - at) / max(1e-9, float(np.hypot(*(right - at))))
    begin = right + 11.0 * aside + 3.0 * along
    corners = np.stack([begin + 14.0 * along, begin + 5.0 * across, begin - 5.0 * across])
    return tag("path", d=_path(corners) + "Z", class_="arrow")


def _path(points: FloatArray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())

"""Reads a track from the game's own `ai/fast_lane.ai`: its ideal line, and how far the road reaches to either side.

Promises a closed racing.track.Track in the ground plane of racing/, and a sentence for every file that cannot give one.
The layout (version 7) was read off two real files. Of what is stored only positions, lengths and sides are used, which
every tool that makes such files fills in; the speeds of the game's own drivers and the grid that ends the file are not.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bridge.assetto_corsa.reading.axes import plane_vector
from racing.car import FloatArray
from racing.track import Track, TrackError

VERSION = 7
LENGTH_TOLERANCE = 0.03
"""Share by which the line may differ from trackSPlineLength: one counts the last step to the start, one does not."""

_HEADER_BYTES = 16
_POINT = np.dtype([("position", "<f4", 3), ("length", "<f4"), ("id", "<i4")])
_DETAIL = np.dtype(
    [
        ("speed_gas_brake_unknown_radius", "<f4", 5),
        ("side_left", "<f4"),
        ("side_right", "<f4"),
        ("camber_direction_normal_step_forward_tag_grade", "<f4", 11),
    ]
)
_FEWEST_POINTS = 8
_FARTHEST = 100_000.0
"""m from the world's origin; beyond it bytes were read that are no position."""
_NARROWEST = 2.0
"""m; on a narrower road no car fits."""
_WIDEST_SIDE = 30.0
"""m from the line to an edge that is believed; beyond it a car park counts as road."""
_WIDENING = 0.5
"""m that a side may widen on each metre of road: the end of a wall is no reason to steer into the paddock."""
_INSIDE = 0.8
"""Share of a bend's radius that its inside may be wide, since edges that cross are none."""
_BEND = 10.0
"""m to either side of a point over which the line's bend is measured."""
_SHORTEST_STEP = 0.01
"""m between the neighbours of a point, in the ground plane."""
_LENGTH_DISAGREES = 0.05
"""Share by which the stored lengths may differ from the way along the positions."""
_OPEN = 50.0
"""m from the line's end to its beginning, beyond which it is no circuit: a road from one place to another."""
_INSTEAD = "Let the game restore the file (Steam: verify integrity of files), or drive a lap with: ac-bridge record-lap"


class NoCircuit(TrackError):
    """The road does not close, and only circuits can be driven."""


@dataclass(frozen=True, slots=True)
class FastLane:
    """What a file says of the road, point by point along the game's ideal line."""

    line: FloatArray  # (n, 2) metres in the ground plane, n >= 8; the first point is not repeated
    elevation: FloatArray  # (n,) metres, the line's height in the game's world
    side_left: FloatArray  # (n,) metres from the line to the left edge; negative where the line runs beyond it
    side_right: FloatArray  # the same to the right edge
    length: float  # metres once around, from the last point to the first included


def read_fast_lane(path: Path) -> FastLane:
    """What the file says; raises TrackError: missing, of another version, cut short, or it cannot be a road."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TrackError(f"The game's line {path} cannot be read: {error.strerror}. {_INSTEAD}") from error
    points, details = _tables(data, path)
    position = points["position"].astype(np.float64)
    sides = np.stack([details["side_left"], details["side_right"]], axis=1).astype(np.float64)
    stored = points["length"].astype(np.float64)
    _check_values(position, sides, stored, path)
    steps = np.linalg.norm(np.roll(position, -1, axis=0) - position, axis=1)
    _check_length(stored, steps, path)
    return FastLane(
        line=plane_vector(position[:, 0], position[:, 2]),
        elevation=position[:, 1],
        side_left=sides[:, 0],
        side_right=sides[:, 1],
        length=float(steps.sum()),
    )


def fast_lane_track(path: Path, name: str, spline_length: float | None = None) -> Track:
    """Return the track between the edges that the file describes; its centreline is the middle of the road.

    It has to match `spline_length`, the trackSPlineLength of the session, m, unless that is None or 0; raises
    TrackError where it does not, or gives no road, and NoCircuit for one that does not close.
    """
    lane = read_fast_lane(path)
    if (opening := float(np.hypot(*(lane.line[0] - lane.line[-1])))) > _OPEN:
        raise NoCircuit(
            f"The track {name} does not close: the game's line of it ends {opening:.0f} m from where it begins. Only "
            "circuits can be driven, so choose another track."
        )
    if spline_length and abs(lane.length / spline_length - 1.0) > LENGTH_TOLERANCE:
        raise TrackError(
            f"The game's line {path} is {lane.length:.0f} m long, but the track that is driven {spline_length:.0f} m: "
            "it belongs to another track or layout. Name the right one with --track, or drive a lap with: ac-bridge "
            "record-lap"
        )
    forward = np.roll(lane.line, -1, axis=0) - np.roll(lane.line, 1, axis=0)
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=1) / np.hypot(forward[:, 0], forward[:, 1])[:, None]
    side_left, side_right = _road(lane)
    left_edge = lane.line + left * side_left[:, None]
    right_edge = lane.line - left * side_right[:, None]
    try:
        return Track.from_borders(left_edge, right_edge, name, "Its line")
    except TrackError as error:
        raise TrackError(f"The game's line {path} gives no track. {error} {_INSTEAD}") from error


def _road(lane: FastLane) -> tuple[FloatArray, FloatArray]:
    """The sides (n,), m, as far as they can be road: a wide paddock must not bend the middle, nor refuse the file."""
    steps = np.hypot(*(np.roll(lane.line, -1, axis=0) - lane.line).T)
    bend = _bend(lane.line, min(max(1, round(_BEND / float(np.median(steps)))), len(steps) // 3))
    inside = np.minimum(_INSIDE / np.maximum(np.abs(bend), 1e-6), _WIDEST_SIDE)
    left = np.minimum(lane.side_left, np.where(bend > 0.0, inside, _WIDEST_SIDE))
    right = np.minimum(lane.side_right, np.where(bend < 0.0, inside, _WIDEST_SIDE))
    return _widening_slowly(left, steps), _widening_slowly(right, steps)


def _bend(line: FloatArray, reach: int) -> FloatArray:
    """Curvature (n,), 1/m, positive to the left, of the circles through each point and those `reach` points away."""
    before, after = (np.roll(line, shift, axis=0) - line for shift in (reach, -reach))
    across = before[:, 1] * after[:, 0] - before[:, 0] * after[:, 1]
    sides = np.prod([np.hypot(*part.T) for part in (before, after, after - before)], axis=0)
    return np.asarray(2.0 * across / np.maximum(sides, 1e-6))


def _widening_slowly(side: FloatArray, steps: FloatArray) -> FloatArray:
    """The side (n,) less what widens faster than _WIDENING; `steps` (n,) are the metres from each point to the next."""
    count = len(side)
    # Twice around: what is narrow at the end holds at the start, too.
    rise = _WIDENING * np.concatenate([[0.0], np.cumsum(np.tile(steps, 2))[:-1]])
    twice = np.tile(side, 2)
    behind = np.minimum.accumulate(twice - rise) + rise
    ahead = np.minimum.accumulate((twice + rise)[::-1])[::-1] - rise
    return np.asarray(np.minimum(behind[count:], ahead[:count]))


def _tables(data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The two tables of equal length, of _POINT and of _DETAIL, as the file holds them."""
    if len(data) < _HEADER_BYTES:
        raise _damaged(path, f"it ends after {len(data)} bytes, within its header")
    version, count = (int(number) for number in np.frombuffer(data, "<i4", 2))
    if version != VERSION:
        raise TrackError(
            f"The game's line {path} is of version {version}, and only version {VERSION} is understood. Drive a lap "
            "instead: ac-bridge record-lap"
        )
    if count < _FEWEST_POINTS:
        raise _damaged(path, f"its header names {count} points, too few for a track")
    second = _HEADER_BYTES + count * _POINT.itemsize
    needed = second + 4 + count * _DETAIL.itemsize
    if len(data) < needed:
        raise _damaged(path, f"its header names {count} points, which take {needed} bytes, but it ends at {len(data)}")
    details = int(np.frombuffer(data, "<i4", 1, offset=second)[0])
    if details != count:
        raise _damaged(path, f"it has {count} points, but sides for {details}")
    return (
        np.frombuffer(data, _POINT, count, offset=_HEADER_BYTES),
        np.frombuffer(data, _DETAIL, count, offset=second + 4),
    )


def _check_values(position: FloatArray, sides: FloatArray, stored: FloatArray, path: Path) -> None:
    farthest = np.abs(np.column_stack([position, sides, stored])).max(axis=1)
    if not (sound := np.isfinite(farthest)).all():
        raise _damaged(path, f"point {int(np.argmin(sound))} holds a value that is not a finite number")
    near = farthest < _FARTHEST
    if not near.all():
        raise _damaged(path, f"point {int(np.argmin(near))} lies farther away than any track reaches")
    level = position[:, [0, 2]]
    onward = np.linalg.norm(np.roll(level, -1, axis=0) - np.roll(level, 1, axis=0), axis=1)
    if onward.min() < _SHORTEST_STEP:
        raise _damaged(path, f"its line does not go on at point {int(np.argmin(onward))}")
    width = sides.sum(axis=1)
    if width.min() < _NARROWEST:
        raise TrackError(
            f"The game's line {path} says nothing useful of the road's edges: the road is {width.min():.1f} m wide at "
            f"point {int(np.argmin(width))}. Drive a lap instead: ac-bridge record-lap"
        )


def _check_length(stored: FloatArray, steps: FloatArray, path: Path) -> None:
    """Positions and lengths are stored independently of each other: what agrees was read rightly."""
    if stored[-1] <= stored[0]:
        raise _damaged(path, "its line has no length")
    if np.diff(stored).min() < 0.0:
        raise _damaged(path, f"its lengths go back at point {int(np.argmin(np.diff(stored))) + 1}")
    along, named = float(steps[:-1].sum()), float(stored[-1] - stored[0])
    if abs(along / named - 1.0) > _LENGTH_DISAGREES:
        raise _damaged(path, f"its points are {along:.0f} m of road, but its lengths say {named:.0f} m")


def _damaged(path: Path, what: str) -> TrackError:
    return TrackError(f"The game's line {path} is damaged: {what}. {_INSTEAD}")

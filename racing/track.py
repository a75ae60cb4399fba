"""A closed circuit: its centreline, its width, and where a position lies relative to it.

Promises an even grid of about 2 m along the centreline, so that every look-up by distance is an interpolation and
every projection a short local search. Knows tracks from a seed (track_generator.py) and from CSV files; knows
nothing of cars. Ground plane in metres, right-handed seen from above; left of the driving direction is positive.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from racing.car import FloatArray, IntArray
from racing.closed_line import resample, smooth, wrapped
from racing.track_file import TrackError as TrackError
from racing.track_file import read_columns
from racing.track_generator import generate_centreline

SPACING = 2.0
"""Aimed distance between centreline points in metres; the real one divides the length evenly."""
SMOOTHING = 4.0
"""Standard deviation in metres of the filter that takes the digitising noise out of a surveyed centreline."""

_X, _TX, _HEADING, _CURVATURE, _LEFT, _RIGHT = 0, 2, 4, 5, 6, 7
_WINDOW = 12
_SHORTEST, _LONGEST = 100.0, 50_000.0


class Projection(NamedTuple):
    """Where N positions lie relative to a track; every field has shape (N,)."""

    s: FloatArray
    """Distance along the centreline from the start, metres in [0, length)."""
    gap: FloatArray
    """Lateral offset from the centreline, metres, positive to the left."""
    heading: FloatArray
    """Direction of the track there, radians; not wrapped, so compare it modulo 2 pi."""
    curvature: FloatArray
    """1/m, positive where the track bends left."""
    width_left: FloatArray
    """Metres from the centreline to the left edge."""
    width_right: FloatArray
    """Metres from the centreline to the right edge."""
    index: IntArray  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """Grid index at or just before s: the hint for the next call."""


class Track:
    """A closed circuit on an even grid of M points; see the module's docstring for the frame.

    Attributes: name; length in metres; spacing in metres; centre (M, 2), width_left, width_right, heading, curvature
    and s, each (M,) float64.
    """

    def __init__(
        self, centre: FloatArray, width_left: FloatArray, width_right: FloatArray, name: str = "track"
    ) -> None:
        """Take an evenly spaced closed centreline (the first point not repeated) and its widths in metres.

        Raises TrackError where the points are no track.
        """
        _check_centreline(centre, width_left, width_right, name)
        self.name = name
        self.centre = np.ascontiguousarray(centre, dtype=np.float64)
        self.width_left = np.ascontiguousarray(width_left, dtype=np.float64)
        self.width_right = np.ascontiguousarray(width_right, dtype=np.float64)
        count = len(self.centre)
        chords = np.roll(self.centre, -1, axis=0) - self.centre
        self.length = float(np.hypot(chords[:, 0], chords[:, 1]).sum())
        self.spacing = self.length / count
        self.s: FloatArray = np.asarray(np.arange(count) * self.spacing)

        central = np.roll(self.centre, -1, axis=0) - np.roll(self.centre, 1, axis=0)
        direction = np.arctan2(chords[:, 1], chords[:, 0])
        turn = wrapped(direction - np.roll(direction, 1))
        tangent = central / np.hypot(central[:, 0], central[:, 1])[:, None]
        self.heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        self.curvature = turn / self.spacing

        # In the order of _X to _RIGHT, with the first point again at the end.
        grid = [self.centre, tangent, self.heading, self.curvature, self.width_left, self.width_right]
        rows = np.column_stack(grid)
        self._table = np.concatenate([rows, rows[:1]])
        self._table[count, _HEADING] += 2 * np.pi * round(float(turn.sum()) / (2 * np.pi))
        self._window = np.arange(-_WINDOW, _WINDOW + 1)
        # The centreline with the window's overlap on both ends: a local search then needs no modulo.
        self._padded = np.concatenate([self.centre[-_WINDOW:], self.centre, self.centre[: _WINDOW + 1]])

    def __repr__(self) -> str:
        return f"Track({self.name!r}, {self.length:.0f} m)"

    @staticmethod
    def generate(seed: int, length: float | None = None) -> "Track":
        """Make a circuit from a seed: 1 to 5 km, smooth, never crossing itself, the same on every machine.

        Raises TrackError for a length outside 600 m to 8 km.
        """
        if length is not None and not 600.0 <= length <= 8000.0:
            raise TrackError(f"A generated track can be 600 to 8000 m long, not {length:g}; choose one in between.")
        centre, left, right = generate_centreline(seed, length, SPACING)
        name = f"seed:{seed}" if length is None else f"seed:{seed}:{length:g}"
        return Track(centre, left, right, name)

    @staticmethod
    def from_csv(path: str | Path) -> "Track":
        """Read a track from `x,y,width_left,width_right` or from border points.

        The second format has the columns left_border_x, left_border_y, right_border_x and right_border_y, as the game's
        own data are exported. Raises TrackError with what is wrong and what to do.
        """
        path = Path(path)
        columns = read_columns(path, "track", "Give a CSV file or seed:NUMBER.", TrackError)
        if {"x", "y", "width_left", "width_right"} <= columns.keys():
            points = np.stack([columns["x"], columns["y"]], axis=1)
            return _from_centreline(points, columns["width_left"], columns["width_right"], path)
        borders = ("left_border_x", "left_border_y", "right_border_x", "right_border_y")
        if set(borders) <= columns.keys():
            rows = np.column_stack([columns[name] for name in borders])
            return Track.from_borders(rows[:, :2], rows[:, 2:], path.stem, str(path))
        raise TrackError(
            f"{path} has no columns that describe a track. Its first line must name x,y,width_left,width_right"
            f" or {','.join(borders)}; it names {','.join(columns)}."
        )

    @staticmethod
    def from_borders(left: FloatArray, right: FloatArray, name: str, source: str) -> "Track":
        """Build a track between two closed borders (K, 2) in metres, of which the rows lie beside each other.

        The centreline is their smoothed middle. `source` is where they come from, for the user. Raises TrackError.
        """
        middle = 0.5 * (left + right)
        _check_closed(middle, source)
        centre = resample(smooth(resample(middle, SPACING), SMOOTHING / SPACING), SPACING)
        half = np.full(len(centre), 1.0)
        bare = Track(centre, half, half, name)
        return Track(centre, _edge_gap(bare, left), -_edge_gap(bare, right), name)

    def to_csv(self, path: str | Path) -> None:
        """Write `x,y,width_left,width_right` in metres; from_csv gives the same track back exactly."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["x", "y", "width_left", "width_right"])
            rows = np.column_stack([self.centre, self.width_left, self.width_right])
            writer.writerows([repr(float(value)) for value in row] for row in rows)

    def project(self, position: FloatArray, hint: IntArray | None = None) -> Projection:
        """Project positions (N, 2) in metres onto the centreline.

        `hint` (N,) is the index of the last projection and makes the search local (about 24 m either way); where the
        nearest point is not inside that window, and without a hint, the whole track is searched.
        """
        if hint is None:
            nearest = self._nearest_of_all(position)
        else:
            window = hint[:, None] + self._window
            offset = self._padded[window + _WINDOW] - position[:, None, :]
            best = np.einsum("nwk,nwk->nw", offset, offset).argmin(axis=1)
            nearest = (hint + best - _WINDOW) % len(self.centre)
            lost = (best == 0) | (best == 2 * _WINDOW)
            if lost.any():
                nearest[lost] = self._nearest_of_all(position[lost])
        # s is where the position lies abeam of the track, with the tangent turning evenly from point to point: so s
        # and gap are continuous, also inside tight bends where the perpendiculars of a plain polyline would overlap.
        along = np.einsum("nk,nk->n", position - self.centre[nearest], self._table[nearest, _TX : _TX + 2])
        first = np.where(along >= 0.0, nearest, (nearest - 1) % len(self.centre))
        return self._within_segment(position, first)

    def follow(self, position: FloatArray, index: IntArray) -> Projection:
        """Project positions (N, 2) that have moved less than a grid step since `index` (N,): project without search."""
        return self._within_segment(position, index)

    def _within_segment(self, position: FloatArray, first: IntArray) -> Projection:
        start = self._table[first]
        step = self._table[first + 1]
        step -= start
        before = position - start[:, :2]
        after = before - step[:, :2]
        abeam_before = np.einsum("nk,nk->n", before, start[:, 2:4])
        abeam_after = np.einsum("nk,nk->n", after, start[:, 2:4] + step[:, 2:4])
        fraction = abeam_before / np.maximum(abeam_before - abeam_after, 1e-3)
        np.clip(fraction, -1.0, 2.0, out=fraction)
        step *= fraction[:, None]
        step += start
        tangent_x, tangent_y = step[:, 2], step[:, 3]
        gap = tangent_x * (position[:, 1] - step[:, 1]) - tangent_y * (position[:, 0] - step[:, 0])
        gap /= np.sqrt(tangent_x * tangent_x + tangent_y * tangent_y)
        cells = first + fraction
        count = len(self.centre)
        index = np.floor(cells).astype(np.int64) % count
        s = (cells % count) * self.spacing
        return Projection(s, gap, step[:, _HEADING], step[:, _CURVATURE], step[:, _LEFT], step[:, _RIGHT], index)

    def _nearest_of_all(self, position: FloatArray) -> IntArray:
        nearest = np.empty(len(position), dtype=np.int64)
        for start in range(0, len(position), 256):
            offset = position[start : start + 256, None, :] - self.centre
            nearest[start : start + 256] = np.einsum("nmk,nmk->nm", offset, offset).argmin(axis=1)
        return nearest

    def _interpolate(self, s: FloatArray, columns: slice) -> FloatArray:
        cells = (np.asarray(s, dtype=np.float64) / self.spacing) % len(self.centre)
        index = cells.astype(np.int64)
        np.minimum(index, len(self.centre) - 1, out=index)
        fraction = (cells - index)[..., None]
        table = self._table[:, columns]
        start = table[index]
        return np.asarray(start + fraction * (table[index + 1] - start))

    def curvature_at(self, s: FloatArray) -> FloatArray:
        """Return the curvature in 1/m at distances s of any shape, in metres, wrapping around the track."""
        return self._interpolate(s, slice(_CURVATURE, _CURVATURE + 1))[..., 0]

    def widths_at(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the metres from the centreline to the left and to the right edge at distances s of any shape."""
        widths = self._interpolate(s, slice(_LEFT, _RIGHT + 1))
        return widths[..., 0], widths[..., 1]

    def heading_at(self, s: FloatArray) -> FloatArray:
        """Return the direction of the track in radians (not wrapped) at distances s of any shape."""
        return self._interpolate(s, slice(_HEADING, _HEADING + 1))[..., 0]

    def position_at(self, s: FloatArray, gap: FloatArray | float = 0.0) -> FloatArray:
        """Return positions (..., 2) in metres at distances s, `gap` metres to the left of the centreline."""
        row = self._interpolate(s, slice(_X, _TX + 2))
        tangent = row[..., 2:] / np.hypot(row[..., 2], row[..., 3])[..., None]
        gap = np.asarray(gap, dtype=np.float64)
        return np.stack([row[..., 0] - gap * tangent[..., 1], row[..., 1] + gap * tangent[..., 0]], axis=-1)


def parse_track(spec: str) -> Track:
    """Return the track that a user names: `seed:7`, `seed:7:1200` (1200 m long) or the path of a CSV file.

    Raises TrackError with a sentence for anything else.
    """
    if not spec.startswith("seed:"):
        return Track.from_csv(spec)
    _, *parts = spec.split(":")
    try:
        seed, lengths = int(parts[0]), [float(part) for part in parts[1:]]
        if seed < 0 or len(lengths) > 1:
            raise ValueError
    except ValueError:
        raise TrackError(
            f"{spec!r} does not name a track. Write seed:NUMBER, seed:NUMBER:METRES, or the path of a CSV file."
        ) from None
    return Track.generate(seed, *lengths)


def _from_centreline(points: FloatArray, width_left: FloatArray, width_right: FloatArray, path: Path) -> Track:
    steps = np.hypot(*(np.roll(points, -1, axis=0) - points).T)
    if len(points) >= 8 and steps.min() >= 1.0 and steps.max() <= 4.0 and np.ptp(steps) < 0.05 * steps.mean():
        return Track(points, width_left, width_right, path.stem)
    _check_closed(points, str(path))
    rows = resample(np.column_stack([points, width_left, width_right]), SPACING)
    rows = resample(smooth(rows, max(SMOOTHING, 0.7 * float(np.median(steps))) / SPACING), SPACING)
    return Track(rows[:, :2], rows[:, 2], rows[:, 3], path.stem)


def _edge_gap(track: Track, border: FloatArray) -> FloatArray:
    """Return the lateral offset (M,) of a border line at the track's grid points."""
    projection = track.project(resample(border, 0.5 * track.spacing))
    order = np.argsort(projection.s)
    return np.asarray(np.interp(track.s, projection.s[order], projection.gap[order], period=track.length))


def _check_closed(points: FloatArray, source: str) -> None:
    steps = np.hypot(*np.diff(points, axis=0).T)
    opening = float(np.hypot(*(points[0] - points[-1])))
    if opening > max(20.0, 5.0 * float(steps.max())):
        raise TrackError(
            f"{source} does not close: {opening:.0f} m lie between its last point and its first. Give one whole lap."
        )


def _check_centreline(centre: FloatArray, left: FloatArray, right: FloatArray, name: str) -> None:
    if centre.ndim != 2 or centre.shape[1] != 2 or len(centre) < 8:
        raise TrackError(f"Track {name} has {len(centre)} centreline points; at least 8 are needed.")
    if left.shape != (len(centre),) or right.shape != (len(centre),):
        raise TrackError(f"Track {name} needs one width to the left and one to the right for every point.")
    if not (np.isfinite(centre).all() and np.isfinite(left).all() and np.isfinite(right).all()):
        raise TrackError(f"Track {name} holds numbers that are not finite; mend those rows.")
    steps = np.hypot(*(np.roll(centre, -1, axis=0) - centre).T)
    if not _SHORTEST <= steps.sum() <= _LONGEST:
        raise TrackError(
            f"Track {name} is {steps.sum():.0f} m long; {_SHORTEST:.0f} m to {_LONGEST / 1000:.0f} km is possible."
            " Coordinates and widths are in metres."
        )
    if steps.min() <= 0.0:
        raise TrackError(f"Track {name} repeats a centreline point; remove the double.")
    if min(left.min(), right.min()) <= 0.0:
        worst = int(np.argmin(np.minimum(left, right)))
        raise TrackError(f"Track {name} has no width at point {worst}; both widths must be above zero there.")

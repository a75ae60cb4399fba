"""Makes a track from one driven lap, where the game has no line of its own to read.

The driven line becomes the centreline, so a lap along the middle of the road is the one to drive; the edges are not
seen at all, so the widths are what the user says or else HALF_WIDTH, which fits inside the narrowest real circuits.
Promises a smooth closed racing.track.Track (Track.to_csv writes what --track takes) that starts at the first position
behind the line, or a sentence that says why the lap will not do. Uses no spline position and no length of the game,
which it gets from the very file that is missing. Reads no pages by itself: samples come in, a lap comes out.
"""

import math
from dataclasses import dataclass

import numpy as np

from bridge.assetto_corsa.reading.axes import plane_vector
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.pages import Snapshot
from racing.car import FloatArray
from racing.closed_line import resample, smooth
from racing.track import SMOOTHING, SPACING, Track, TrackError

HALF_WIDTH = 4.0
"""m from the driven line to either edge, unless the user says something else."""
LONGEST_GAP = 40.0
"""m between two samples (half a second at 290 km/h) that a curve may bridge."""
LONGEST_BLIND_SECONDS = 0.5
"""s between two samples: in a slow bend the car turns round within the metres of a fast straight."""
LONGEST_LAP_SECONDS = 1800.0
"""A lap that takes longer is given up: twice around the longest of the game's tracks at a walk."""

_FASTEST = 120.0
"""m/s; whoever moves faster was put somewhere else."""
_PAUSED = 3.0
"""m that a car moves at most while the game is paused and resumed."""
_CLOSING = 15.0
"""m beside its first position that a lap may end: it crossed the same line on the same road."""
_FADE = 150.0
"""m from the line over which the difference between start and end is spread."""
_SHARPEST = 0.2
"""1/m; no road bends like that, only a car that spins or turns back."""
_INSIDE = 0.8
"""Share of a bend's radius that the inside may be wide."""
_NARROWEST, _WIDEST = 1.5, 50.0
_SHORTEST = 100.0
"""m; nothing shorter is a circuit."""
ONLY_CIRCUITS = "only circuits, on which the road leads back to the line, can be driven"
_AGAIN = "Drive one lap from the line to the line without stopping or turning round, along the middle of the road."


@dataclass(frozen=True, slots=True)
class LapSample:
    """Where the car was."""

    time: float  # s, of any clock that goes on
    x: float  # m in the ground plane, as y
    y: float
    lap_time: float  # s since the line was crossed, as the game counts
    in_pit_lane: bool  # in the pits or on the way to or from them


def lap_sample(snapshot: Snapshot) -> LapSample | None:
    """Return what a snapshot of the pages says of the lap; None unless the game is LIVE."""
    if snapshot.status is not Status.LIVE:
        return None
    graphics = snapshot.graphics
    x, y = plane_vector(graphics.carCoordinates[0], graphics.carCoordinates[2]).tolist()
    in_pit_lane = bool(graphics.isInPitLane) or bool(graphics.isInPit)
    return LapSample(snapshot.read_at, x, y, graphics.iCurrentTime / 1000.0, in_pit_lane)


class LapRecorder:
    """Picks one whole lap, from the line to the line, out of what a car does."""

    def __init__(self) -> None:
        self.recording = False  # the line was crossed and a lap is being collected
        self.metres = 0.0  # driven of this lap so far
        self.given_up = ""  # why the last lap that was begun was given up, a sentence; empty if it was not
        self._last: LapSample | None = None
        self._began = 0.0
        self._positions: list[tuple[float, float]] = []

    def add(self, sample: LapSample) -> FloatArray | None:
        """Take the next sample in; return the positions (k, 2) of the lap that it ends, in metres, if it ends one."""
        last, self._last = self._last, sample
        if last is None or sample.time <= last.time:
            return None
        seconds = sample.time - last.time
        step = math.hypot(sample.x - last.x, sample.y - last.y)
        if sample.in_pit_lane:
            self._give_up("the car is in the pit lane")
        elif not step <= 5.0 + _FASTEST * seconds:
            self._give_up("the car was put somewhere else")
        elif step > LONGEST_GAP or (seconds > LONGEST_BLIND_SECONDS and step > _PAUSED):
            self._give_up(f"nothing was seen of the car over {step:.0f} m")
        elif self.recording and sample.time - self._began > LONGEST_LAP_SECONDS:
            self._give_up(f"it took longer than {LONGEST_LAP_SECONDS / 60:.0f} minutes, and {ONLY_CIRCUITS}")
        elif sample.lap_time < last.lap_time - 1.0 and step > seconds:
            # The lap clock begins anew while the car moves; in a restart it stands, or jumps.
            return self._cross_line(sample)
        elif self.recording:
            self.metres += step
            self._positions.append((sample.x, sample.y))
        return None

    def _cross_line(self, sample: LapSample) -> FloatArray | None:
        here = (sample.x, sample.y)
        lap = np.array([*self._positions, here]) if self.recording else None
        self.recording = True
        self.given_up = ""
        self.metres = 0.0
        self._began = sample.time
        self._positions = [here]
        return lap

    def _give_up(self, why: str) -> None:
        if self.recording:
            self.given_up = f"The lap was given up after {self.metres:.0f} m: {why}. The next one begins at the line."
        self.recording = False
        self._positions = []
        self.metres = 0.0


def track_from_lap(
    lap: FloatArray, name: str, width_left: float = HALF_WIDTH, width_right: float = HALF_WIDTH
) -> Track:
    """Return the track whose centreline a lap drove.

    `lap` is (k, 2) positions, m, in the order driven, from the line to the first one behind the line again; the widths
    are m from it to the edges, in tight bends less towards the inside. Raises TrackError: the lap does not close, has
    gaps, or is no lap of a road.
    """
    if not (_NARROWEST <= width_left <= _WIDEST and _NARROWEST <= width_right <= _WIDEST):
        raise TrackError(
            f"A road {width_left:g} m to the left and {width_right:g} m to the right of the driven line is not "
            f"possible; give {_NARROWEST:g} to {_WIDEST:g} m for each."
        )
    even = resample(_rounded(_closed(_thinned(lap, name), name)), SPACING)
    centre = resample(smooth(even, SMOOTHING / SPACING), SPACING)
    bare = Track(centre, np.full(len(centre), width_left), np.full(len(centre), width_right), name)
    sharpest = float(np.abs(bare.curvature).max())
    if sharpest > _SHARPEST:
        raise TrackError(f"The lap of {name} turns within {1 / sharpest:.1f} m somewhere, as no road does. {_AGAIN}")
    room = _INSIDE / np.maximum(np.abs(bare.curvature), 1e-6)
    left = np.where(bare.curvature > 0.0, np.minimum(width_left, room), width_left)
    right = np.where(bare.curvature < 0.0, np.minimum(width_right, room), width_right)
    return Track(centre, left, right, name)


def _thinned(lap: FloatArray, name: str) -> FloatArray:
    """One point (m, 2) for about every grid step, the mean of the samples near it, however long the car stood there."""
    if lap.ndim != 2 or lap.shape[1] != 2 or not np.isfinite(lap).all():
        raise TrackError(f"The lap of {name} holds positions that are no finite numbers. {_AGAIN}")
    points: list[FloatArray] = []
    first = 0
    for row in range(1, len(lap) + 1):
        if row == len(lap) or math.hypot(*(lap[row] - lap[first])) >= SPACING:
            points.append(lap[first:row].mean(axis=0))
            first = row
    if len(points) < 8:
        raise TrackError(f"The lap of {name} is only {len(lap)} positions near each other. {_AGAIN}")
    return np.array(points)


def _closed(points: FloatArray, name: str) -> FloatArray:
    """The lap without what lies behind the line again, its end and its start moved onto each other."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    distance = np.concatenate([[0.0], np.cumsum(steps)])
    if steps.max(initial=0.0) > LONGEST_GAP:
        raise TrackError(f"The lap of {name} has a gap of {steps.max():.0f} m. {_AGAIN}")
    if distance[-1] < _SHORTEST:
        raise TrackError(f"The lap of {name} is only {distance[-1]:.0f} m long. {_AGAIN}")
    onward = points[int(np.searchsorted(distance, 10.0))] - points[0]
    if np.hypot(*onward) < 1.0:
        raise TrackError(f"The lap of {name} turns back right behind the line. {_AGAIN}")
    onward /= np.hypot(*onward)
    left = np.array([-onward[1], onward[0]])
    # Only the end of the lap may cross the line: elsewhere it may run beside it, the other way.
    tail = np.flatnonzero(distance > distance[-1] - 1.5 * LONGEST_GAP)
    along = (points[tail] - points[0]) @ onward
    behind = np.flatnonzero(along >= 0.0)
    count = int(tail[behind[0]]) if len(behind) else len(points)
    last = points[count - 1]
    opening = float(np.hypot(*(points[0] - last)))
    ahead = last - points[count - 2]
    aside = float((last - points[0]) @ left)
    if opening > LONGEST_GAP or abs(aside) > _CLOSING or float(ahead @ onward) < 0.5 * float(np.hypot(*ahead)):
        raise TrackError(
            f"The lap of {name} does not close: it ends {opening:.0f} m from where it began, and {ONLY_CIRCUITS}. "
            f"{_AGAIN}"
        )
    points, distance = points[:count], distance[:count]
    fade = min(_FADE, 0.25 * distance[-1])
    from_start = 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / fade, 1.0))
    to_end = 0.5 + 0.5 * np.cos(np.pi * np.minimum((distance[-1] - distance) / fade, 1.0))
    return np.asarray(points + 0.5 * aside * (from_start - to_end)[:, None] * left)


def _rounded(points: FloatArray) -> FloatArray:
    """A closed curve through the points (m, 2), about every metre: cubic Hermite, so that gaps in bends are bends."""
    steps = np.maximum(np.hypot(*(np.roll(points, -1, axis=0) - points).T), 1e-6)
    slope = (np.roll(points, -1, axis=0) - points) / steps[:, None]
    before = np.roll(steps, 1)
    tangent = (np.roll(slope, 1, axis=0) * steps[:, None] + slope * before[:, None]) / (steps + before)[:, None]
    pieces = np.maximum(1, np.ceil(steps).astype(np.int64))
    at = np.repeat(np.arange(len(points)), pieces)
    u = ((np.arange(len(at)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[at])[:, None]
    then, length = (at + 1) % len(points), steps[at][:, None]
    return np.asarray(
        (1 + 2 * u) * (1 - u) ** 2 * points[at]
        + u * (1 - u) ** 2 * length * tangent[at]
        + u * u * (3 - 2 * u) * points[then]
        + u * u * (u - 1) * length * tangent[then]
    )

"""The first car of a drive as whoever watches the run is shown it: place, speed, controls, laps, time won or lost.

The control thread leaves its newest step in a `racing.driving.Lookout`; everything else is done here, in the link's
thread. What is wrong with a picture costs the picture, never the drive or its experience.
"""

import asyncio
import logging
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import numpy as np

from racing.car import CarState
from racing.driving import Lap, Lookout, Moment
from wire.messages import MAX_GAP, MAX_GEAR, MAX_OFF_TRACKS, MAX_PLACE, MAX_SPEED, Telemetry

LOOK_SECONDS = 0.05
"""Between two looks at the car, which its best lap is remembered by."""
MOST_METRES = 100.0
"""Further apart, two looks at a lap say nothing of what lies between, as when simulated time flies."""
TELEMETRY_SECONDS = 0.2
"""At least, between two looks at the car that are sent."""
TELEMETRY_BYTES = 1000
"""Of them a second at most: a longer one has a longer pause behind it."""
_FRAME_HEAD = 8
_LEAST_METRES = 1.0

_log = logging.getLogger(__name__)


class LapDelta:
    """How much sooner or later (s) a car is at its place than in its best clean lap; follows it look by look."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._at: list[float] = []
        self._since: list[float] = []
        """Metres (m) and seconds (s) since the line, of the lap that is being driven."""
        self._lap_of: tuple[float, float, int] | None = None
        self._best: Lap | None = None
        self._best_at, self._best_since = np.zeros(0), np.zeros(0)

    def follow(self, moment: Moment) -> float | None:
        """Take one look; the delta there, None before the first best lap and off a lap."""
        memory = moment.memory
        lap = float(memory.started[0]), float(memory.lap_started[0]), moment.laps
        at, since = float(memory.lap_progress[0]), float(moment.state.time[0]) - lap[1]
        if lap != self._lap_of:
            if self._lap_of is not None and moment.laps == self._lap_of[2] + 1 and moment.lap is not None:
                self._completed(moment.lap)
            self._lap_of, self._at, self._since = lap, [0.0], [0.0]
        if math.isnan(at):
            return None
        if at >= self._at[-1] + _LEAST_METRES:
            self._at.append(at)
            self._since.append(since)
        if self._best is None or not 0.0 <= at <= self._length:
            return None
        return since - float(np.interp(at, self._best_at, self._best_since))

    def _completed(self, lap: Lap) -> None:
        if not lap.clean or (self._best is not None and lap.time >= self._best.time):
            return
        count = bisect_left(self._at, self._length - _LEAST_METRES)
        at = np.array([*self._at[:count], self._length])
        if np.diff(at).max() <= MOST_METRES:
            self._best, self._best_at = lap, at
            self._best_since = np.array([*self._since[:count], lap.time])


class ShownCar:
    """The first of the cars that `lookout` shows, on a track of `length` m; its methods never raise."""

    def __init__(self, lookout: Lookout, length: float) -> None:
        self._lookout, self._delta = lookout, LapDelta(length)
        self._seen: Moment | None = None
        self._seen_delta: float | None = None
        self._told: Moment | None = None
        self._broken = False

    async def keep_looking(self) -> None:
        """Follow the car, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with self._for_what_it_is_worth():
                self._look()

    async def next(self) -> Telemetry:
        """Where the car is, once there is something new to say of it."""
        while (news := self.news()) is None:
            await asyncio.sleep(TELEMETRY_SECONDS)
        return news

    async def sent(self, size: int) -> None:
        """A frame of so many bytes was sent: pause, longer after a long one."""
        await asyncio.sleep(max(TELEMETRY_SECONDS, (size + _FRAME_HEAD) / TELEMETRY_BYTES))

    def news(self) -> Telemetry | None:
        """Where the car is now; None before its first step, and while there is nothing new."""
        with self._for_what_it_is_worth():
            self._look()
            moment, places = self._seen, self._lookout.off_tracks
            if not self._broken and moment is not None and (moment is not self._told or places):
                self._told = moment
                spots = [places.popleft() for _ in range(min(len(places), MAX_OFF_TRACKS))]
                return telemetry_of(moment, self._seen_delta, spots)
        return None

    def _look(self) -> None:
        moment = self._lookout.moment
        if moment is not None and moment is not self._seen and not self._broken:
            self._seen, self._seen_delta = moment, self._delta.follow(moment)

    @contextmanager
    def _for_what_it_is_worth(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._broken = True
            _log.exception("the car cannot be shown any more; driving and collecting go on")


def telemetry_of(moment: Moment, delta: float | None, off_tracks: Sequence[tuple[float, float]]) -> Telemetry | None:
    """The first car as the wire carries it, within the bounds; None where a number of it is none."""
    state, memory = moment.state, moment.memory
    place, gap = float(memory.projection.s[0]), float(memory.projection.gap[0])
    since = float(state.time[0] - memory.lap_started[0])
    slim = slim_of(state, place, gap, moment.laps, since)
    if slim is None or not math.isfinite(delta or 0.0):
        return None
    return msgspec.structs.replace(
        slim,
        delta=None if delta is None else _within(delta, -1e6, 1e6),
        off_tracks=tuple((s, g) for s, g in off_tracks if 0.0 <= s <= MAX_PLACE and abs(g) <= MAX_GAP),
    )


def slim_of(state: CarState, place: float, gap: float, laps: int, since: float) -> Telemetry | None:
    """The first car of `state` at this place and gap (m), `since` s in its lap; None where a number of it is none.

    It has no field that a receiver from before the role `stream` would refuse.
    """
    throttle, brake, steer = float(state.throttle[0]), float(state.brake[0]), float(state.steer[0])
    speed = math.hypot(*state.velocity[0].tolist())
    if not all(map(math.isfinite, (place, gap, speed, since, throttle, brake, steer))):
        return None
    return Telemetry(
        place=_within(place, 0.0, MAX_PLACE),
        gap=_within(gap, -MAX_GAP, MAX_GAP),
        speed=_within(speed, 0.0, MAX_SPEED),
        gear=min(max(int(state.gear[0]), -1), MAX_GEAR),
        throttle=_within(throttle, 0.0, 1.0),
        brake=_within(brake, 0.0, 1.0),
        steer=_within(steer, -1.0, 1.0),
        laps=laps,
        lap_time=_within(since, 0.0, 1e9),
    )


def _within(value: float, lowest: float, highest: float) -> float:
    return min(max(value, lowest), highest)

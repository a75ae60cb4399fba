"""Plays the actions that a driver in the cloud sent ahead, at the control rate, without waiting for the network.

Promises that what is applied never jumps, whatever arrives and whenever; that an action is played at its own time or
not at all; and that silence ends in a watchdog, which lifts the throttle at once, holds the steering for a moment and
eases it to straight, and brakes gently until a new chunk is there. It does no input or output: whoever owns the link
hands chunks in, whoever drives asks for an action. All times are s on the session's clock, the one of the frames.
"""

import math
from collections import Counter
from enum import StrEnum
from typing import Final, NamedTuple

from wire.messages import ControlChunk

STEER_RATE: Final = 6.0
"""Full locks a second that the steering may move; arms and wheels reach about 3.5, so it costs no lap time."""
PEDAL_RATE: Final = 12.0
"""Whole pedals a second; only a watchdog that lifts the throttle is faster."""
HOLD_SECONDS: Final = 0.3
"""For so long a watchdog holds the steering: a car that is in a bend stays in it."""
EASE_RATE: Final = 0.5
"""Full locks a second at which a watchdog straightens the steering after that."""
GENTLE_BRAKE: Final = 0.15
"""Of the brake, what a watchdog brakes with: no tyre locks, in any bend."""
GENTLE_RATE: Final = 0.5
"""Pedals a second at which it begins to brake."""
MOST_AHEAD: Final = 5.0
"""s from now to a chunk's first action; who sends one further ahead has another clock."""
CLOCK_SLACK: Final = 0.05
"""s by which an observation may seem to lie in the future: the session's time comes in packets."""
MOST_HELD: Final = 1.0
"""s for which a chunk's last action is held at most, whatever its expiry says."""
MOST_BLIND: Final = 5.0
"""s from a chunk's observation for which anything of it is played: nobody drives longer by what he saw once."""

_ROUNDING: Final = 1e-6
"""s that sums of periods may be off."""


class Playing(StrEnum):
    """Where an action came from."""

    FRESH = "fresh"
    """A chunk that was there in time."""
    LATE = "late"
    """A chunk that came after its first action's time, and was used from where it was still true."""
    HELD = "held"
    """The last action of a chunk that has run out and not expired."""
    WATCHDOG = "watchdog"
    """There was nothing to play."""


class Refusal(StrEnum):
    """Why a chunk is not played."""

    PAST = "all its actions lie in the past"
    OLD = "a newer one was there before"
    OTHER_EPISODE = "it answers what was seen before this episode began"
    OTHER_CLOCK = "its times are not of this session"


class Played(NamedTuple):
    """An action for one control step: `steer` and `pedal`, each -1 to 1.

    Attributes: playing: where it came from; chunk, version: number and policy version of its chunk, age: s from the
    observation that it answers; None each for a watchdog's.
    """

    steer: float
    pedal: float
    playing: Playing
    chunk: int | None = None
    version: int | None = None
    age: float | None = None


class _Taken(NamedTuple):
    chunk: ControlChunk
    late: bool
    expires: float


class ChunkPlayer:
    """Plays chunks in one thread; `delay` and `counts` are for whoever reports.

    Args:
        period: between two calls of `action` as a rule, s; it bounds what one call may change after a longer pause.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._taken: list[_Taken] = []
        """In the order of their observations; the newest one whose first action's time has come is played."""
        self._newest = (-math.inf, 0)
        """Observation's time and number of the newest chunk taken."""
        self._began = -math.inf
        self._steer = self._pedal = 0.0
        self._silent_since: float | None = None
        self._at: float | None = None
        self.delay: float | None = None
        """s from an observation to the arrival of its chunk, of the newest that arrived, refused or not; None before
        the first. What the driver aims a chunk's first action by."""
        self.counts: Counter[str] = Counter()
        """Of steps by Playing, and of refused chunks by Refusal's name."""

    def begin(self, now: float, steer: float = 0.0, pedal: float = 0.0) -> None:
        """An episode begins, with these controls applied; what answers earlier observations is not played any more."""
        self._taken.clear()
        self._began, self._silent_since, self._at = now, None, None
        self._steer, self._pedal = steer, pedal

    def applied(self, steer: float, pedal: float) -> None:
        """Somebody else has driven meanwhile, and applied this last."""
        self._steer, self._pedal = steer, pedal

    def take(self, chunk: ControlChunk, now: float) -> Refusal | None:
        """A chunk arrived; why it will not be played, or None."""
        refusal = self._refusal(chunk, now)
        if refusal is not Refusal.OTHER_CLOCK:
            self.delay = max(0.0, now - chunk.observed)
        if refusal is not None:
            self.counts[refusal.name.lower()] += 1
            return refusal
        self._newest = (chunk.observed, chunk.number)
        late = now > chunk.first + 0.5 * chunk.period
        self._taken.append(_Taken(chunk, late, _expires(chunk)))
        return None

    def _refusal(self, chunk: ControlChunk, now: float) -> Refusal | None:
        if chunk.observed > now + CLOCK_SLACK or chunk.first < chunk.observed or chunk.first > now + MOST_AHEAD:
            return Refusal.OTHER_CLOCK
        if chunk.observed < self._began:
            return Refusal.OTHER_EPISODE
        if (chunk.observed, chunk.number) <= self._newest:
            return Refusal.OLD
        return Refusal.PAST if _expires(chunk) <= now else None

    def action(self, now: float) -> Played:
        """What to apply from `now` on, until the next call."""
        past = self._period if self._at is None else min(max(now - self._at, 0.0), 2.0 * self._period)
        self._at = now
        taken = self._current(now)
        played = self._of_watchdog(now, past) if taken is None else self._of_chunk(taken, now, past)
        self._steer, self._pedal = played.steer, played.pedal
        self.counts[played.playing] += 1
        return played

    def _current(self, now: float) -> _Taken | None:
        """The newest chunk whose time has come; what it has replaced is forgotten."""
        due = [place for place, one in enumerate(self._taken) if _place(one.chunk, now) >= 0]
        if due:
            del self._taken[: due[-1]]
            if now < self._taken[0].expires - _ROUNDING:
                return self._taken[0]
            del self._taken[0]
        return None

    def _of_chunk(self, taken: _Taken, now: float, past: float) -> Played:
        chunk, place = taken.chunk, _place(taken.chunk, now)
        steer, pedal = chunk.actions[min(place, len(chunk.actions) - 1)]
        self._silent_since = None
        playing = Playing.LATE if taken.late else Playing.FRESH
        if place >= len(chunk.actions):
            playing = Playing.HELD
        return Played(
            _towards(self._steer, steer, STEER_RATE * past),
            _towards(self._pedal, pedal, PEDAL_RATE * past),
            playing,
            chunk.number,
            chunk.version,
            max(0.0, now - chunk.observed),
        )

    def _of_watchdog(self, now: float, past: float) -> Played:
        if self._silent_since is None:
            self._silent_since = now
        steer = self._steer
        if now - self._silent_since >= HOLD_SECONDS:
            steer = _towards(steer, 0.0, EASE_RATE * past)
        pedal = _towards(min(self._pedal, 0.0), -GENTLE_BRAKE, GENTLE_RATE * past)
        return Played(steer, pedal, Playing.WATCHDOG)


def _expires(chunk: ControlChunk) -> float:
    """From when on nothing of it is played."""
    end = chunk.first + len(chunk.actions) * chunk.period
    return min(chunk.expires, end + MOST_HELD, chunk.observed + MOST_BLIND)


def _place(chunk: ControlChunk, now: float) -> int:
    """Which of the chunk's actions is nearest in time to `now`; below 0 before the first."""
    return math.floor((now - chunk.first) / chunk.period + 0.5)


def _towards(value: float, aim: float, most: float) -> float:
    return value + min(max(aim - value, -most), most)

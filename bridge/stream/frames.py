"""Frames of telemetry, made of a car's states and its track: everything that is known of the car, and how its lap goes.

Of a whole lap it needs no task and no episode: a lap begins and ends at the line, or where the states begin anew.
"""

import math
from typing import Any, Final

import msgspec
import numpy as np

from bridge.link.shown_car import slim_of
from racing.car import CarState
from racing.track import Track
from wire.messages import MAX_SPEED, Telemetry

OFF_WHEELS: Final = 2
"""A lap in which more wheels are out at once is not valid."""
_SCALARS: Final = ("heading", "yaw_rate", "engine_rpm")
_VECTORS: Final = ("position", "velocity", "acceleration", "wheel_slip", "wheel_load", "wheel_angular_speed")
_MOST: Final = 1e7
"""What no number of a car reaches; as wire.messages has it."""


class FrameMaker:
    """Makes frames of one car on `track`, of its states in order."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._laps, self._valid = 0, True
        self._index: Any = None
        self._before: tuple[float, float] | None = None
        """Time (s) and progress (m) of the state before; None where the next joins nothing."""
        self._began = 0.0
        self._since_line: float | None = None
        """Metres since the line at which the lap began; None in a lap that began elsewhere."""

    def interrupt(self) -> None:
        """What comes does not join what was: the lap that was being driven is none."""
        self._before = self._index = self._since_line = None

    def frame(self, state: CarState) -> Telemetry | None:
        """The next state, N = 1, as the wire carries it; None where a number of it is none."""
        time = float(state.time[0])
        if not (math.isfinite(time) and np.isfinite(state.position[0]).all()):
            return None
        at = self._track.project(state.position, self._index)
        self._index = at.index
        self._follow(time, float(at.s[0]))
        self._valid &= int(state.wheels_out[0]) <= OFF_WHEELS
        place, gap = float(at.s[0]), float(at.gap[0])
        slim = slim_of(state, place, gap, self._laps, time - self._began)
        if slim is None:
            return None
        return msgspec.structs.replace(slim, time=time, valid=self._valid, **known_of(state))

    def _follow(self, time: float, place: float) -> None:
        """Begin a lap where the car has crossed the line, at the moment that lies between the two states.

        Completed is only a lap from line to line: a car that turns about on the line goes on in the lap that it is in.
        """
        length = self._track.length
        if self._before is None:
            self._before, self._began, self._valid = (time, place), time, True
            return
        before, progress = self._before
        moved = (place - progress + 0.5 * length) % length - 0.5 * length
        since, crossed = self._since_line, moved > 0.0 and progress + moved >= length
        if crossed and (since is None or since + moved > 0.5 * length):
            share = (length - progress) / moved
            self._began, self._valid = before + share * (time - before), True
            self._laps += since is not None
            self._since_line = progress + moved - length
        elif since is not None:
            self._since_line = since + moved
        self._before = time, place


def known_of(state: CarState) -> dict[str, Any]:
    """The fields of Telemetry that the first car's state has beside the slim ones; what is no number is left out."""
    known: dict[str, Any] = {
        "wheels_out": min(max(int(state.wheels_out[0]), 0), 4),
        "collided": bool(state.collided[0]),
    }
    for name in (*_SCALARS, *_VECTORS):
        values = getattr(state, name)
        if values is not None and (np.abs(values[0]) <= (MAX_SPEED if name == "velocity" else _MOST)).all():
            known[name] = float(values[0]) if name in _SCALARS else tuple(values[0].tolist())
    return known

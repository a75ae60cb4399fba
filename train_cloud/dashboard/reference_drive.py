"""Drives the reference driver round a track in the simulator, and samples its faster lap evenly over the way.

As a program it is the child of reference.py: it reads a Request (JSON) from its standard input, and writes the
ReferenceLap (JSON).
"""

import os
import sys

import msgspec
import numpy as np

from racing.car import CarState, FloatArray
from racing.driving import Lap
from racing.evaluation import drive_laps, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.sectors import SECTORS
from racing.task import Float32Array
from racing.task_config import TaskConfig
from racing.track import Track
from racing.track_text import track_of
from train_cloud.dashboard.reference import SAMPLES, ReferenceLap, Request
from train_cloud.lap_table import LapTrace

NICE = 15
LAPS = 2
_SECONDS, _X, _Y, _SPEED, _STEER, _PEDALS, _GEAR = range(7)


def drive(track: Track, task: TaskConfig) -> ReferenceLap:
    """The faster clean one of its first laps. Raises ValueError where it drove none."""
    act = reference_actions(ReferenceDriver(track))
    seen: list[list[float]] = []

    def watched(observation: Float32Array, state: CarState) -> Float32Array:
        x, y = state.position[0]
        speed, pedals = np.hypot(*state.velocity[0]), state.throttle[0] - state.brake[0]
        row = (state.time[0], x, y, speed, state.steer[0], pedals, state.gear[0])
        seen.append([float(value) for value in row])
        return act(observation, state)

    driven = drive_laps(watched, track, LAPS, task)
    clean = [(lap.time, number) for number, lap in enumerate(driven.laps) if lap.clean]
    if not clean:
        raise ValueError(f"the reference driver drove no clean lap ({driven.end})")
    number = min(clean)[1]
    return _sampled(track, np.array(seen), driven.laps[number], number)


def _sampled(track: Track, rows: FloatArray, lap: Lap, number: int) -> ReferenceLap:
    """The lap of this number within the rows, each a moment; the drive began shortly before the line."""
    places = track.project(rows[:, _X : _Y + 1])
    metres = np.unwrap(places.s, period=track.length)
    # From the first crossing of the line on.
    metres -= track.length * (np.ceil(metres[0] / track.length) + number)
    begin = float(np.interp(0.0, metres, rows[:, _SECONDS]))
    inside = (metres > 0.0) & (metres < track.length)
    # The drive is over when the line is crossed last: of that moment no state was seen.
    at = np.concatenate([metres[inside], [track.length]])
    table = np.column_stack([rows, places.gap])[inside]
    table = np.concatenate([table, table[-1:]])
    table[-1, _SECONDS] = begin + lap.time
    even = np.linspace(0.0, track.length, min(SAMPLES, len(table)))
    columns = [np.round(np.interp(even, at, column), 4) for column in table.T]
    seconds = np.interp(even, np.concatenate([[0.0], at]), np.concatenate([[0.0], table[:, _SECONDS] - begin]))
    borders = np.interp(track.length * np.arange(SECTORS + 1) / SECTORS, even, seconds)
    trace = LapTrace(
        time=round(lap.time, 3),
        version=0,
        steps=0,
        seconds=np.round(seconds, 4).tolist(),
        metres=np.round(even, 2).tolist(),
        gap=columns[-1].tolist(),
        speed=columns[_SPEED].tolist(),
        steer=columns[_STEER].tolist(),
        pedals=columns[_PEDALS].tolist(),
        gear=columns[_GEAR].tolist(),
    )
    return ReferenceLap(trace, tuple(np.round(np.diff(borders), 3).tolist()))


def main() -> None:
    """Answer the one request, after everybody who has more important things to do."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(drive(track_of(request.track), request.task)))


if __name__ == "__main__":
    main()

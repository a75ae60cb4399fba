"""A drive in a recording of the game's pages, as a car that drives as it did, at a control rate.

Promises the states that a bridge would have read: the first packet of each control period of a game that is LIVE; where
there was none, where the car was moved, after a hit, or while CSP's Custom AI had the car (a bridge drove it then), the
drive is over until the next row.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import groupby
from typing import Any

import numpy as np

from bridge.assetto_corsa.reading.layout import CarData, Graphics, Physics, Static, Status, text
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import CAR_FRESH_SECONDS, Snapshot
from bridge.assetto_corsa.reading.state import StateReader
from bridge.assetto_corsa.recording.playing import sound
from bridge.assetto_corsa.recording.recording import PageKind, Record
from racing.car import CarState
from racing.recorded_car import PlayedCar, RecordingError, last_rows


def recorded_drive(records: Iterable[Record], control_hz: float) -> tuple[PlayedCar, Static | None]:
    """The car at `control_hz` rows a second, and the session's page where there is one.

    Raises:
        RecordingError: nobody drives in it, or in several sessions.
        RecordingDamaged: from the records.
    """
    statics: dict[bytes, Static] = {}
    rows: list[tuple[float, CarState, bool]] = []
    states, due, joins = StateReader(), -math.inf, False
    for snapshot in _snapshots(records, statics):
        humans = snapshot.status is Status.LIVE and snapshot.car is None
        if not humans or snapshot.duplicate:
            joins = joins and humans
            continue
        if snapshot.read_at < due:
            continue
        joins = joins and snapshot.read_at < due + 0.5 / control_hz
        due = (due if joins else snapshot.read_at) + 1.0 / control_hz
        if not joins:
            states.interrupt()
        try:
            state = states.state(snapshot)
        except GameError:
            joins = False
            continue
        rows.append((snapshot.read_at, state, joins))
        joins = not state.collided[0]
        if not joins:
            states.restart()
    if len({(text(page.track), text(page.trackConfiguration), text(page.carModel)) for page in statics.values()}) > 1:
        raise RecordingError(
            "The recording holds sessions with different cars or tracks. Record each in a file of its own."
        )
    if not any(joined for _, _, joined in rows):
        raise RecordingError(
            "Nobody drives in this recording: it holds no two moments that join of a live game whose car no bridge had."
        )
    times = np.array([time for time, _, _ in rows])
    car = _joined([state for _, state, _ in rows])
    apart = np.append(~np.array([joined for _, _, joined in rows])[1:], True).astype(np.float64)
    ends = last_rows(car, control_hz, apart, np.diff(times))
    return PlayedCar(car, control_hz, ends), next(iter(statics.values()), None)


def _snapshots(records: Iterable[Record], statics: dict[bytes, Static]) -> Iterator[Snapshot]:
    """What a reader of the pages saw at each time; the pages of sessions go into `statics`."""
    latest: dict[PageKind, bytes] = {}
    car_at = -math.inf
    for moment, group in groupby(sound(records), key=lambda record: record.time):
        fresh = {record.kind: record.data for record in group}
        latest |= fresh
        if PageKind.STATIC in fresh:
            statics.setdefault(fresh[PageKind.STATIC], Static.from_buffer_copy(fresh[PageKind.STATIC]))
        if PageKind.CAR in fresh:
            car_at = moment
        if PageKind.PHYSICS not in latest or PageKind.GRAPHICS not in latest:
            continue
        driven = moment - car_at <= CAR_FRESH_SECONDS
        yield Snapshot(
            Physics.from_buffer_copy(latest[PageKind.PHYSICS]),
            Graphics.from_buffer_copy(latest[PageKind.GRAPHICS]),
            CarData.from_buffer_copy(latest[PageKind.CAR]) if driven else None,
            moment,
            PageKind.PHYSICS not in fresh,
        )


def _joined(states: list[CarState]) -> CarState:
    """One state with a row for each; a quantity that one of them lacks is absent."""
    columns = [[getattr(state, field.name) for state in states] for field in fields(CarState)]
    joined: list[Any] = [None if any(one is None for one in column) else np.concatenate(column) for column in columns]
    return CarState(*joined)

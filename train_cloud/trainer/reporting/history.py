"""The run's history as whoever watches sees it: the newest report, points of the curves, clean laps and their course.

The trainer writes it to the store's tables, and with each checkpoint to the bucket, from where a run that goes on on
another machine takes it up. Nothing here stops learning: where the store takes nothing, that is a warning, once.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from runtime.logs import fields
from train_cloud.history_document import decode_history, encode_history, history_of, newest_of, restore_history
from train_cloud.history_table import Point, forget_points, put_beat, put_point, put_report
from train_cloud.lap_table import KEPT, Kind, LapRow, add_laps, forget_laps, put_trace, traces
from train_cloud.store_file import StoreError, StoreFile
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.laps import DrivenLap
from train_cloud.trainer.reporting.tracking import curve_points
from train_cloud.trainer.saving.uploads import Uploads

PROCESS = "trainer"
BESTS: Final[tuple[Kind, ...]] = ("best", "human")
"""Kinds of which the fastest is kept."""

_log = logging.getLogger(__name__)


class History:
    """The history of the run that `counters` tell of, from where they stand: what the store has beyond is forgotten."""

    def __init__(self, store: StoreFile, uploads: Uploads, counters: Counters) -> None:
        self._store, self._uploads, self._counters = store, uploads, counters
        self._warned = False
        self._drawn_through = counters.steps
        self._laps: list[LapRow] = []
        self._courses: dict[Kind, tuple[DrivenLap, int]] = {}
        """Of laps whose traces are to be put, and the steps of the run by then."""
        self._best: dict[Kind, float] = {}
        """Time of the best trace of each kind that is one of a best lap, s."""
        self._as_well_as_it_goes(self._begin)

    def _begin(self) -> None:
        with self._store.writing():
            forget_points(self._store, self._counters.steps)
            forget_laps(self._store, self._counters.steps)
        found = traces(self._store)
        for kind in BESTS:
            if kind in found:
                self._best[kind] = found[kind].time

    def lapped(self, driven: Sequence[DrivenLap]) -> None:
        """Note clean laps that the run has not counted before; they are put at the next note."""
        steps = self._counters.steps
        for lap in driven:
            self._laps.append(LapRow(time.time(), steps, lap.version, lap.course.time, lap.sectors))
            best: Kind = "human" if lap.human else "best"
            if lap.course.time < self._best.get(best, float("inf")):
                self._best[best] = lap.course.time
                self._courses[best] = lap, steps
            if not lap.human:
                self._courses["newest"] = lap, steps
        del self._laps[:-KEPT]

    def note(self, document: Mapping[str, Any], lap_metres: float | None, drawn: bool = False) -> None:
        """Put the report, a beat, and the laps since the last time; and a point, if it is to be `drawn` and steps came.

        `lap_metres` is the length of the track, None while it is unknown.
        """
        self._as_well_as_it_goes(lambda: self._put(document, lap_metres, drawn))

    def beat(self, state: str) -> None:
        """Say that the trainer lives, where there is no report yet."""
        self._as_well_as_it_goes(lambda: put_beat(self._store, PROCESS, state))

    def upload(self) -> None:
        """Have the history that the store has brought to the bucket."""
        self._uploads.history(lambda: encode_history(history_of(self._store)))

    def _put(self, document: Mapping[str, Any], lap_metres: float | None, drawn: bool) -> None:
        steps = int(document["steps"])
        drawn = drawn and steps > self._drawn_through
        # All at once: each transaction waits for the disk.
        with self._store.writing():
            put_report(self._store, document)
            put_beat(self._store, PROCESS, str(document["state"]))
            if self._laps:
                add_laps(self._store, self._laps)
            for kind, (lap, at_steps) in self._courses.items():
                put_trace(self._store, kind, lap.course.trace(lap.version, at_steps, lap_metres))
            if drawn:
                put_point(self._store, Point(time.time(), steps, self._counters.resumes, curve_points(document)))
        self._laps, self._courses = [], {}
        if drawn:
            self._drawn_through = steps

    def _as_well_as_it_goes(self, put: Callable[[], None]) -> None:
        try:
            put()
        except StoreError as error:
            if not self._warned:
                reason = fields(reason=str(error))
                _log.warning("the run's history is not written: training goes on without what is missing", extra=reason)
            self._warned = True


def say_alive(store: StoreFile, state: str) -> None:
    """Say that a trainer that does not train yet, or has ended, lives; as well as it goes."""
    with suppress(StoreError):
        put_beat(store, PROCESS, state)


def take_up(store: StoreFile, find: Callable[[], bytes | None]) -> None:
    """Give the store the history that the bucket has, unless its own is newer; `find` fetches history.json.

    A document that is missing or bad costs a warning: the run goes on with what the store has.
    """
    try:
        content = find()
        if content is None:
            _log.warning("the bucket has no history of this run: it goes on from what is here")
            return
        document = decode_history(content)
        if newest_of(document) > newest_of(history_of(store)):
            restore_history(store, document)
            told = fields(points=len(document.points), laps=len(document.laps))
            _log.info("the run's history is taken up from the bucket", extra=told)
    except (StoreError, msgspec.DecodeError) as error:
        reason = fields(reason=str(error))
        _log.warning("the bucket's history cannot be taken up: it goes on from what is here", extra=reason)

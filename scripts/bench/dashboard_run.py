"""The trainer of scripts.bench.dashboard: what one leaves in the store of how its run goes, without any learning.

Once a second it says what a trainer says, through the same tables: progress, a report, a point of every curve; and
every LAP_SECONDS that a clean lap was driven, which really was one, in the simulator. What it has consumed may go.
"""

import threading
import time
from pathlib import Path
from typing import Final

from tests.support.reported import driven, metrics, points, trace_of
from train_cloud.history_table import Point, put_beat, put_point, put_report
from train_cloud.lap_table import LapRow, add_laps, put_trace
from train_cloud.store import Store, TrainerProgress

LAP_SECONDS: Final = 20
SAY_SECONDS: Final = 1.0
_KEPT_BATCHES: Final = 20_000
"""As a checkpoint would need them."""
_PACES: Final = (0.9, 0.93, 0.97)
_CURVES: Final = 500


class QuietTrainer:
    """Says how the run whose store is at `path` goes, until it is left."""

    def __init__(self, path: Path, total_timesteps: int) -> None:
        self._store, self._total = Store(path), total_timesteps
        self._laps = {pace: driven(pace) for pace in _PACES}
        self._curves = [point.values for point in points(_CURVES)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="quiet trainer")
        self.failed: BaseException | None = None

    def __enter__(self) -> "QuietTrainer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._store.close()

    def _go_on(self) -> None:
        try:
            beat = 0
            while not self._ended.wait(SAY_SECONDS):
                self._say(beat)
                beat += 1
        except BaseException as error:
            self.failed = error

    def _say(self, beat: int) -> None:
        store, steps = self._store, self._store.total_steps()
        with store.writing():
            store.put_progress(TrainerProgress(steps, steps, steps, "training"))
            put_beat(store, "trainer", "training")
            told = {"steps": steps, "trained_steps": steps, "updates": steps, "total_timesteps": self._total}
            put_report(store, metrics(state="training", seconds_left=3600.0, **told))
            put_point(store, Point(time.time(), steps, beat // 1000, self._curves[beat % _CURVES]))
            if beat % LAP_SECONDS == 0:
                self._lap(beat // LAP_SECONDS, steps)
        if beat % LAP_SECONDS == 0:
            newest = store.rows("SELECT COALESCE(MAX(id), 0) FROM batches")[0][0]
            store.note_checkpoint(steps, max(0, newest - _KEPT_BATCHES))

    def _lap(self, number: int, steps: int) -> None:
        lap = self._laps[_PACES[number % len(_PACES)]]
        version = number + 1
        add_laps(self._store, [LapRow(time.time(), steps, version, lap.time, (lap.time / 3,) * 3)])
        put_trace(self._store, "newest", trace_of(lap, version, steps))
        put_trace(self._store, "best", trace_of(self._laps[max(_PACES)], version, steps))

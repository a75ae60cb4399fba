"""Judging as a part of training: has each checkpoint's policy judged, keeps the best, and goes back to it once.

Simulated cars are judged for in the simulator, on the run's track, by a child process. Where cars drive in real time,
they judge: a version is sent to them to be driven without exploration. Environments other than racing have no laps, and
no judgement. Nothing here waits, but for the last judgement of a run that is done.
"""

import logging
import threading
import time
from typing import Final

from experience.batches import Batch
from racing.evaluation import Judgement
from runtime.logs import fields
from train_cloud import notify
from train_cloud.bridge_table import standings
from train_cloud.environment import link_of, task_config
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import MODEL, POLICY
from train_cloud.store import Store
from train_cloud.track_table import only_track, track
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.judging.laps import MOST_AWAITED, LapsOfVersion
from train_cloud.trainer.judging.simulator import Asked, SimulatorJudge
from train_cloud.trainer.learning.export import ExportError
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.saving.manifest import Checkpoint
from train_cloud.trainer.saving.publish import Publisher
from train_cloud.trainer.saving.uploads import Uploads
from train_cloud.trainer.verdict import COLLAPSED, JudgedBy, Verdict
from wire.messages import Role

LAST_SECONDS: Final = 60.0
"""A run that is done waits for so long until its last checkpoint is judged."""
EXPLORED: Final = 3
"""Times as many steps as a judgement took of the run's own cars are explored before the next is asked for."""
KEEP_SECONDS: Final = 30.0
"""While the best is not in the bucket, it is handed in again this often."""

_log = logging.getLogger(__name__)


class Judging:
    """Of one life of the trainer; `best` is the checkpoint that the counters say is best, None where there is none."""

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        uploads: Uploads,
        counters: Counters,
        publisher: Publisher,
        best: Checkpoint | None,
    ) -> None:
        self._config, self._store, self._uploads = config, store, uploads
        self._counters, self._publisher, self._best = counters, publisher, best
        self._racing = config.environment.kind == "racing"
        self._simulator: SimulatorJudge | None = None
        self._laps = LapsOfVersion(config.task.control_hz)
        self._driven: dict[int, Asked] = {}
        """What the run's own cars were asked to drive, by version; of those that nobody has begun the newest counts."""
        self._found: Judgement | None = None
        self._ask_from_steps, self._give_up_at = 0, 0.0
        self._keep_at = 0.0
        if not self._racing:
            _log.info("no laps, so no judgement: of another environment than racing the newest checkpoint is fetched")

    def saved(self, checkpoint: Checkpoint) -> None:
        """Have the policy of a checkpoint judged; one that still waits for it is dropped."""
        if not self._racing:
            return
        # Nothing is learned from who only streams, and he drives no version of ours.
        cars = [car for car in standings(self._store) if car.role == Role.COLLECT]
        cars = [car for car in cars if car.connected] or cars[:1]
        if any(car.real_time for car in cars):
            self._ask_the_cars(checkpoint)
            return
        chosen = self._config.environment.track
        where = only_track(self._store) if chosen is None else track(self._store, chosen)
        if where is None:
            _log.info("not judged: no track is announced, or several, and run.json chooses none")
            return
        if self._simulator is None:
            self._simulator = SimulatorJudge(task_config(self._config), link_of(self._config))
        self._simulator.ask(Asked(checkpoint, self._counters.weights_version), checkpoint.files[POLICY], where)

    def _ask_the_cars(self, checkpoint: Checkpoint) -> None:
        """Have it driven, unless one is being driven, or was so lately that exploring would come too short."""
        busy = self._laps.under_way and time.monotonic() < self._give_up_at
        if busy or self._found is not None or self._counters.steps < self._ask_from_steps:
            return
        version = self._publisher.publish_to_judge(checkpoint.files[POLICY])
        if version is not None:
            asked = [*self._driven.items(), (version, Asked(checkpoint, version))]
            self._driven, self._found = dict(asked[-MOST_AWAITED:]), None
            self._laps.follow(version)
            # An episode is no longer than that; whoever has gone in the middle of one is not waited for.
            self._give_up_at = time.monotonic() + 2.0 * self._config.task.max_episode_seconds

    def drove(self, stream: str, batch: Batch) -> None:
        """A batch has come, for the first time."""
        self._found = self._laps.read(stream, batch) or self._found

    def look(self) -> None:
        """Take what was judged meanwhile. Raises Diverged where learning has collapsed."""
        if self._simulator is not None and (judged := self._simulator.take()) is not None:
            self._take(*judged, JudgedBy.SIMULATOR)
        if self._found is not None and self._laps.judged in self._driven:
            judgement, asked, self._found = self._found, self._driven[self._laps.judged], None
            self._driven = {}
            self._ask_from_steps = self._counters.steps + EXPLORED * self._laps.steps
            self._take(asked, judgement, JudgedBy.BRIDGES)
        best = self._counters.judged.best
        is_kept = best is None or self._uploads.best_steps == best.steps
        if self._best is not None and best is not None and not is_kept and time.monotonic() >= self._keep_at:
            self._keep_at = time.monotonic() + KEEP_SECONDS
            self._uploads.best(self._best, best)
        if self._counters.judged.far_behind >= COLLAPSED:
            assert best is not None
            raise Diverged(
                f"Learning has collapsed: the last {COLLAPSED} policies that were judged got nowhere from any start, "
                f"and the best, at {best.steps} steps, lapped from every one. Look at what the bridges send and at the "
                "reward, or lower the learning rate."
            )

    def go_back(self, learner: Learner, defect: Diverged | ExportError) -> None:
        """Put `learner` into the best checkpoint's state; raises `defect` where there is none, or the second time."""
        judged = self._counters.judged
        if judged.went_back_at is not None:
            _log.error(
                "the run went back to its best checkpoint before: once is all", extra=fields(at=judged.went_back_at)
            )
            raise defect
        if self._best is None:
            raise defect
        steps = self._best.manifest.steps
        _log.error(
            "LEARNING HAS A DEFECT; the run goes back to its best checkpoint, once",
            extra=fields(best_at=steps, steps=self._counters.steps, defect=str(defect)),
        )
        judged.went_back_at, judged.far_behind = self._counters.steps, 0
        self._publisher.pass_over()
        learner.restore(self._best.files[MODEL], self._counters)

    def finish(self, stop: threading.Event) -> None:
        """Wait until the last checkpoint is judged, unless that takes too long or `stop` is set."""
        deadline = time.monotonic() + LAST_SECONDS
        while self._simulator is not None and not self._simulator.wait(0.2):
            notify.alive()
            if stop.is_set() or time.monotonic() > deadline:
                _log.warning("the last checkpoint was not judged in time")
                break
        self._counters.judged.far_behind = 0
        self._keep_at = 0.0
        self.look()

    def close(self) -> None:
        """End what judges."""
        if self._simulator is not None:
            self._simulator.close()

    def _take(self, asked: Asked, judgement: Judgement, by: JudgedBy) -> None:
        verdict = Verdict(steps=asked.checkpoint.manifest.steps, version=asked.version, by=by, judgement=judgement)
        is_best = self._counters.judged.take(verdict)
        if is_best:
            self._best, self._keep_at = asked.checkpoint, 0.0
        _log.info("policy judged", extra=fields(**verdict.figures(), best=is_best))

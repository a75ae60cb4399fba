"""The training loop: experience in, gradient updates, weights out, checkpoints now and then, until the run is done.

It aims at a fixed number of updates for each environment step and does them in small chunks, so that reading and
publishing stay prompt. Whatever S3 or the bridges do, it goes on; it ends when the run is done, when it is told to
stop, when another trainer writes the same run, or when learning has diverged.
"""

import logging
import math
import threading
import time
from dataclasses import InitVar, dataclass
from typing import Any

from experience.codec import Layout
from runtime.logs import fields
from runtime.progress import Progress
from train_cloud import notify
from train_cloud.bridge_table import standings
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreFull, TrainerProgress
from train_cloud.trainer.acting.actor import Actor
from train_cloud.trainer.boot import note_first_gradient
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.directions import way_to_drive
from train_cloud.trainer.ingest import Ingest
from train_cloud.trainer.judging.judging import Judging
from train_cloud.trainer.laps import Drives, lap_metres
from train_cloud.trainer.learning.export import ExportError
from train_cloud.trainer.learning.learner import Learner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.pace import most_owed, pace_of
from train_cloud.trainer.reporting.history import History
from train_cloud.trainer.reporting.metrics import Rates, metrics_bytes, metrics_document, story
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.checkpoint import make_checkpoint, method_and_networks
from train_cloud.trainer.saving.manifest import Checkpoint
from train_cloud.trainer.saving.publish import Publisher
from train_cloud.trainer.saving.uploads import Uploads

IDLE_SECONDS = 0.01
REPORT_SECONDS = 10.0
HISTORY_SECONDS = 1.0
"""Whoever watches sees this often how the run stands."""
PROGRESS_SECONDS = 0.1
CURVES_SECONDS = 300.0
"""Curves go to the bucket this often, and with each checkpoint."""
ALIVE_SECONDS = 1.0
WAITING_SECONDS = 600.0
"""Without a bridge, that is said this often."""
SEEN_SECONDS = 1.0
"""A receiver that is not busy has seen by then what was published, and sent it on."""
FORGIVEN_SECONDS = 60.0
"""While updates are forgiven, that is said this often."""

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Trainer:
    """One run being trained by one process.

    `learner` and `counters` are in the state to go on from, the counters updated in place; `layout` says what a row of
    experience holds. An `actor`, which has begun, makes experience here. `best` is the best checkpoint so far.
    """

    config: RunConfig
    store: Store
    uploads: Uploads
    tracking: Tracking
    learner: Learner
    counters: Counters
    stop: threading.Event
    layout: InitVar[Layout]
    actor: Actor | None = None
    best: InitVar[Checkpoint | None] = None

    def __post_init__(self, layout: Layout, best: Checkpoint | None) -> None:
        counters = self.counters
        counters.made_by = method_and_networks(self.config)
        self._find_pace()
        self._publisher = Publisher(self.store, self.counters)
        racing = self.config.environment.kind == "racing"
        drives = Drives(self.config.task.control_hz) if racing else None
        self._judging = Judging(self.config, self.store, self.uploads, counters, self._publisher, best)
        self._history = History(self.store, self.uploads, counters)
        heard = self._publisher.saw, drives, self._judging.drove, self._history.lapped
        self._ingest = Ingest(self.store, self.learner, self.counters, layout, *heard)
        self._lap_metres: float | None = None
        self._rates = Rates()
        self._rebuilt = False
        self._saved_at_steps = self.counters.steps
        self._needed_from: dict[int, int] = {}
        """What the checkpoints under way need of the store, by their steps."""
        self._requests_met = self.store.checkpoint_requests()
        self._noted: TrainerProgress | None = None
        self._unnoted = False
        self._began = time.monotonic() - self.counters.seconds
        """When the run began, were there no time between its lives."""
        self._due: dict[str, float] = {}
        self._boot_seconds: dict[str, float] | None = None
        self._story: dict[str, Any] = {}
        self._remote: dict[str, Any] = {}
        self._waits_for: str | None = None

    def run(self) -> bool:
        """Train until done or told to stop; True when the run is done. The final checkpoint is handed to uploads.

        Where learning diverges, it goes back to the best checkpoint once. Raises Diverged or ExportError when that is
        of no use, AnotherWriter, StoreError.
        """
        self._publisher.publish(self.learner)
        self._rebuild()
        notify.ready(f"training the run {self.config.run_id}")
        try:
            while True:
                try:
                    return self._train()
                except (Diverged, ExportError) as defect:
                    self._judging.go_back(self.learner, defect)
                    self.save()
        finally:
            self._judging.close()

    def _train(self) -> bool:
        with Progress("training", self.config.total_timesteps) as progress:
            while not self.stop.is_set() and not self.done():
                read = self._act()
                updates = self._update()
                if (updates and self.learner.waits_for_version) or self._is_due("publish", self.config.publish_seconds):
                    self._publisher.publish(self.learner)
                if (updates and self.actor is None) or self._is_due("progress", PROGRESS_SECONDS):
                    self._put_progress(TrainerState.TRAINING)
                if self._is_due("report", REPORT_SECONDS):
                    if self.actor is None:
                        self._say_when_nobody_drives()
                    self._report(TrainerState.TRAINING)
                if self._is_due("history", HISTORY_SECONDS):
                    self._history.note(self._figures(TrainerState.TRAINING), self._lap_metres)
                if self._checkpoint_is_due():
                    self.save()
                if self._is_due("curves", CURVES_SECONDS):
                    self.uploads.curves(self.tracking.upload)
                if self._is_due("alive", ALIVE_SECONDS):
                    notify.alive()
                    self._say_what_the_actor_waits_for()
                self.uploads.check()
                self._judging.look()
                self._note_checkpoint()
                progress.update(self.learned_steps(), **({"left": None} | self._story))
                if not read and not updates:
                    self._idle()
        done = self.done()
        self._publisher.publish(self.learner)
        state = TrainerState.DONE if done else TrainerState.STOPPED
        self._put_progress(state)
        self._history.beat(state)
        # The checkpoint first, so that the last report names it.
        self.save()
        if done:
            self._judging.finish(self.stop)
        self._report(state)
        self._history.upload()
        self.uploads.curves(self.tracking.upload)
        _log.info(state, extra=fields(done=f"{self.learned_steps()}/{self.config.total_timesteps}", **self._story))
        return done

    def _find_pace(self) -> None:
        """How many updates the steps ask for by the settings of now, and by whether there are demonstrations."""
        counters = self.counters
        self._pace = pace_of(self.config, counters.pace, counters.driven, counters.updates, counters.demonstrations)
        if counters.pace not in (None, self._pace):
            told = fields(updates_per_step=self._pace.updates_per_step, from_steps=self._pace.from_steps)
            _log.info("another pace than before: updates are counted from here on", extra=told)
        counters.pace = self._pace

    def _read(self) -> int:
        """Take in what is new; returns how many batches."""
        shown = self.counters.demonstrations
        read = self._ingest.read()
        if not shown and self.counters.demonstrations:
            self._find_pace()
        return read

    def _act(self) -> int:
        """Have the actor go on, if there is one, and take in what is new; returns how many batches."""
        if self.actor is None:
            return self._read()
        self.actor.turn(self._most_steps())
        pending = self.actor.pending_steps
        read = self._read()
        if not read and not pending:
            self.actor.all_are_counted(self.counters.steps)
        return read

    def _idle(self) -> None:
        if self.actor is None:
            self.stop.wait(IDLE_SECONDS)
        else:
            self.actor.turn(self._most_steps(), IDLE_SECONDS)

    def _most_steps(self) -> int:
        """As many steps as the run may have for now; the actor waits there."""
        at_once = self.config.environment.num_envs
        if self.learner.waits_for_version:
            # In whole steps of all environments, and one of these more: the actor holds the newest.
            wanted = self.learner.remembers - self.learner.figures().replay_rows
            return self.counters.steps + wanted + 2 * at_once - 1
        # With less than the steps of one update, and what the actor holds, nobody would ever go on.
        least = math.ceil(1.0 / self._pace.updates_per_step) + 2 * at_once
        return self.trained_steps() + max(self.config.max_lead_steps, least)

    def _rebuild(self) -> None:
        """Take in again what the checkpoint's replay buffer held, before anything is learned from the buffer."""
        self.store.forget_checkpoints(beyond_steps=self.counters.steps)
        self._ingest.skip_to_needed()
        while not self.stop.is_set() and self._ingest.rebuild():
            if self._is_due("alive", ALIVE_SECONDS):
                notify.starting(f"{TrainerState.REBUILDING}: {self.learner.figures().replay_rows} rows")
                self._history.beat(TrainerState.REBUILDING)
            self._put_progress(TrainerState.REBUILDING)
        if self.counters.replay_digest and not self.stop.is_set():
            # What a lost instance had not brought to the bucket is missing until its bridges have sent it again.
            digest = self.learner.memory_digest()
            rows, as_saved = self.learner.figures().replay_rows, digest == self.counters.replay_digest
            _log.info("replay buffer rebuilt", extra=fields(rows=rows, digest=digest, as_saved=as_saved))
        self._rebuilt = not self.stop.is_set()

    def done(self) -> bool:
        """Whether all steps of the run are taken in and learned from."""
        return self.counters.driven >= self.config.total_timesteps and self._updates_owed() <= 0

    def trained_steps(self) -> int:
        """Environment steps that learning has kept up with; it need not with those dropped, or demonstrated."""
        return self.learned_steps() + self.counters.demonstrations

    def learned_steps(self) -> int:
        """The same of those that policies drove, which are the run's `total_timesteps`."""
        counters = self.counters
        if self.learner.waits_for_version:
            return counters.driven - self.learner.figures().replay_rows
        return min(counters.driven, self._pace.trained(counters.updates, counters.demonstrations))

    def save(self) -> None:
        """Hand a checkpoint of this moment to the uploads. Raises Diverged: every checkpoint is a good one."""
        self.learner.check()
        self._saved_at_steps = self.counters.steps
        self.counters.seconds = time.monotonic() - self._began
        if self._rebuilt:
            self.counters.replay_digest = self.learner.memory_digest()
            self._needed_from[self.counters.steps] = self._ingest.needed_from()
        # Before the counters are written: it may publish, and so raise the version that they name.
        policy = self._publisher.in_force(self.learner)
        checkpoint = make_checkpoint(self.learner, self.counters, policy)
        self.uploads.checkpoint(checkpoint)
        if not self.stop.is_set():
            self._judging.saved(checkpoint)
            # Of what is published, receivers send the newest: one that is to be judged stays that for a moment.
            self._due["publish"] = time.monotonic() + max(SEEN_SECONDS, self.config.publish_seconds)
        self._history.upload()
        self.uploads.curves(self.tracking.upload)

    def _note_checkpoint(self) -> None:
        """Tell the store what a checkpoint needs of it, once it is saved: the receiver prunes what is older."""
        saved = self.uploads.saved_steps
        if saved is None or saved not in self._needed_from:
            return
        try:
            self.store.note_checkpoint(saved, self._needed_from[saved])
        except StoreFull as error:
            _log.error("checkpoint not noted, so that less is pruned", extra=fields(reason=str(error)))
        self._needed_from = {steps: needed for steps, needed in self._needed_from.items() if steps > saved}

    def summary(self) -> bytes:
        """The metrics of a finished run, for its DONE object, once everything is uploaded."""
        return metrics_bytes(self._document(TrainerState.DONE))

    def _checkpoint_is_due(self) -> bool:
        every = self.config.save_frequency
        return self.counters.steps // every > self._saved_at_steps // every or self._checkpoint_is_requested()

    def _checkpoint_is_requested(self) -> bool:
        """Whether somebody has asked for a checkpoint since the last time."""
        if not self._is_due("request", PROGRESS_SECONDS):
            return False
        requests = self.store.checkpoint_requests()
        asked, self._requests_met = requests > self._requests_met, requests
        if asked:
            _log.info("a checkpoint was asked for", extra=fields(steps=self.counters.steps))
        return asked

    def _updates_owed(self) -> int:
        """Updates that the steps taken in so far still ask for."""
        steps = min(self.counters.driven, self.config.total_timesteps)
        return self._pace.asked(steps, self.counters.demonstrations) - self.counters.updates

    def _forgive(self) -> None:
        """Owe no more updates than the cap: what is made from old experience alone teaches ever less."""
        beyond = self._updates_owed() - most_owed(self.config, self._pace)
        if beyond <= 0:
            return
        self._pace = self.counters.pace = self._pace.forgiving(beyond)
        self.counters.forgiven_updates += beyond
        if self._is_due("forgiven", FORGIVEN_SECONDS):
            told = fields(in_all=self.counters.forgiven_updates, still_owed=self._updates_owed())
            _log.warning("learning is far behind the driving: updates are forgiven", extra=told)

    def _update(self) -> int:
        """Do some of the updates that are owed, or all that a rollout asks for; returns how many."""
        counters, total = self.counters, self.config.total_timesteps
        if not self.learner.waits_for_version:
            self._forgive()
        budget = self._budget()
        if not self.learner.waits_for_version:
            updates = self.learner.update(budget) if budget > 0 else 0
            counters.updates += updates
        elif (updates := self.learner.update(budget)) or counters.driven >= total:
            # What the steps ask for that are learned from or dropped: reckoned anew, so that all lives agree about it.
            counters.updates = max(counters.updates, self._pace.asked(min(self.learned_steps(), total)))
        if updates and self._boot_seconds is None:
            self._boot_seconds = note_first_gradient(self.store.path.parent)
        return updates

    def _budget(self) -> int:
        """Updates to make at a stretch."""
        chunk = self.config.gradient_chunk
        if self.actor is not None and self.actor.is_stepping:
            # What one step of the PC asks for: the next action is not to wait for longer.
            chunk = max(1, round(self._pace.updates_per_step * self.config.environment.num_envs))
        return min(self._updates_owed(), chunk)

    def _put_progress(self, state: TrainerState) -> None:
        counters = self.counters
        progress = TrainerProgress(self.trained_steps(), counters.steps, counters.updates, state)
        if progress == self._noted:
            return
        try:
            self.store.put_progress(progress)
            self._noted, self._unnoted = progress, False
        except StoreFull as error:
            # Ten times a second until there is room: one line says it.
            if not self._unnoted:
                _log.error("progress not noted, trying again", extra=fields(reason=str(error)))
            self._unnoted = True

    def _report(self, state: TrainerState) -> None:
        """Put metrics.json up, draw the curves, and make the story that the progress line tells. Raises Diverged."""
        self.learner.check()
        if self.actor is not None:
            self._remote["remote"] = self.actor.figures()
        document = self._figures(state)
        self._history.note(document, self._lap_metres, drawn=True)
        self.uploads.metrics(lambda saved: metrics_bytes(document | {"checkpoint_steps": saved}))
        self.tracking.draw(document)
        self._story = story(document)
        laps = f"{self.counters.laps} laps, {self.counters.clean_laps} of them clean"
        notify.status(f"{state}: {self.learned_steps()} of {self.config.total_timesteps} steps, {laps}")

    def _figures(self, state: TrainerState) -> dict[str, Any]:
        """The document of now, from which rates are reckoned on."""
        self.counters.seconds = time.monotonic() - self._began
        asked = self._updates_owed() + self.counters.updates + self.counters.forgiven_updates
        self._rates.mark(self.learned_steps(), self.counters, asked)
        if self.actor is not None:
            self._remote["waits_for"] = self.actor.waits_for()
        return self._document(state)

    def _document(self, state: TrainerState) -> dict[str, Any]:
        trained, saved = self.learned_steps(), self.uploads.saved_steps
        if self._lap_metres is None:
            self._lap_metres = lap_metres(self.store, self.config.environment.track)
        document = metrics_document(
            *(self.config, self.counters, self.learner, self._rates, state, trained, saved),
            *(self._boot_seconds, self._lap_metres),
        )
        return document | self._remote

    def _say_when_nobody_drives(self) -> None:
        if any(bridge.connected for bridge in standings(self.store)):
            self._due.pop("bridge", None)
        elif self._is_due("bridge", WAITING_SECONDS):
            _log.info(f"no bridge is connected: waiting for one; {way_to_drive(self.store.path.parent)}")

    def _say_what_the_actor_waits_for(self) -> None:
        before = self._waits_for
        self._waits_for = waits = None if self.actor is None else self.actor.waits_for()
        if waits is None:
            self._due.pop("waits", None)
        elif self._is_due("waits", WAITING_SECONDS) or waits != before:
            _log.info(f"waiting for {waits}")

    def _is_due(self, what: str, seconds: float) -> bool:
        """Whether `seconds` have passed since it was last due; the first time at once."""
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + seconds
        return True

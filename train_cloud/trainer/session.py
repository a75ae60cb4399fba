"""One life of the trainer process: finds where the run stands, trains, and leaves everything saved.

It turns what can go wrong into an exit code and a sentence. Waiting for S3 at the beginning and at the end is
bounded; in between, training never waits for it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from experience.batches import most_steps
from experience.recorder import Recorder
from experience.spaces import SpacesError
from runtime.exit_codes import ExitCode
from runtime.logs import fields
from runtime.retry import GaveUp
from train_cloud import notify
from train_cloud.bucket_probe import probe
from train_cloud.environment import environment_of
from train_cloud.object_store import PATIENCE_SECONDS, ObjectStore, ObjectStoreError, patiently
from train_cloud.open_store import open_store
from train_cloud.run_config import ConfigError, RunConfig
from train_cloud.run_folder.done import is_done
from train_cloud.run_folder.files import CALLS, RUN_CONFIG, STORE
from train_cloud.run_folder.keys import DONE, HISTORY, run_prefix
from train_cloud.run_folder.states import TrainerState
from train_cloud.store import Store, StoreError, StoreFull
from train_cloud.trainer.acting.actor import Actor
from train_cloud.trainer.acting.store_sink import StoreSink
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.directions import way_to_drive, way_to_serve, ways_to_results
from train_cloud.trainer.final_report import report_run
from train_cloud.trainer.learning.export import ExportError
from train_cloud.trainer.learning.learners import check_device, make_learner
from train_cloud.trainer.learning.sanity import Diverged
from train_cloud.trainer.loop import Trainer
from train_cloud.trainer.reporting.history import say_alive, take_up
from train_cloud.trainer.reporting.tracking import Tracking
from train_cloud.trainer.saving.checkpoint import method_and_networks, restore_learner
from train_cloud.trainer.saving.manifest import CheckpointError, find_best, find_newest
from train_cloud.trainer.saving.uploads import AnotherWriter, Uploads

STOP_SECONDS = 20.0
"""How long the final upload may take after a signal: trainer and receiver end within 60 s of a spot notice."""
NOTICE_SECONDS = 1.0

_EXIT_CODES: dict[type[Exception], ExitCode] = {
    ConfigError: ExitCode.USAGE,
    SpacesError: ExitCode.REFUSED,
    AnotherWriter: ExitCode.REFUSED,
    ObjectStoreError: ExitCode.STORAGE,
    StoreFull: ExitCode.DISK_FULL,
    StoreError: ExitCode.FAILED,
    CheckpointError: ExitCode.FAILED,
    ExportError: ExitCode.FAILED,
    Diverged: ExitCode.FAILED,
}
"""A subclass stands before its base."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def train_run(config: RunConfig, folder: Path, stop: threading.Event, run_file: Path = Path(RUN_CONFIG)) -> ExitCode:
    """Train the run of `config`, read from `run_file`, with the store in `folder` until it is done or `stop` is set."""
    torch.set_num_threads(config.trainer_threads or max(1, (os.cpu_count() or 1) - 1))
    try:
        check_device(config.device)
        objects = open_store(config.bucket, run_prefix(config.run_id))
        finished = _patiently(lambda: objects.find(DONE), "asking whether the run is done", stop)
        if is_done(finished, config.total_timesteps):
            _log.info("this run is done already: nothing to train", extra=fields(run_id=config.run_id))
            if (folder / STORE).exists():
                store = Store(folder / STORE)
                store.put_progress(replace(store.progress(), state=TrainerState.DONE))
                say_alive(store, TrainerState.DONE)
            notify.ready("the run is done: nothing to train")
            _show_ways(config, run_file)
            return ExitCode.OK
        if finished is not None:
            _log.info("the run had finished and goes on: total_timesteps is higher than it was")
        _patiently(lambda: probe(objects), "trying what the bucket's server can do", stop)
        store = _wait_for(lambda: _restored(folder / STORE), "the receiver to restore the store", stop)
        code, done = _train(config, store, objects, stop)
        if done and code == ExitCode.OK:
            if config.final_report:
                report_run(config, stop)
            _show_ways(config, run_file)
        return code
    except GaveUp:
        _log.info("stopped before training began")
        return ExitCode.OK
    except tuple(_EXIT_CODES) as error:
        _log.error(str(error))
        return next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))


def _show_ways(config: RunConfig, run_file: Path) -> None:
    for way in ways_to_results(config, run_file):
        _log.info(way)


def _train(config: RunConfig, store: Store, objects: ObjectStore, stop: threading.Event) -> tuple[ExitCode, bool]:
    """Train to the end, or until told to stop; the exit code, and whether the run is done."""
    folder, alive = store.path.parent, partial(say_alive, store, TrainerState.STARTING)
    actor = Actor(config, folder / CALLS) if config.environment.source == "remote" else None
    waits_for = f"the first bridge, which says what the environment's spaces are: {way_to_drive(folder)}"
    if actor is not None:
        waits_for = f"{actor.waits_for()}; {way_to_serve(folder)}"
    environment = _wait_for(
        lambda: environment_of(config, store.first_spaces() or (actor.spaces() if actor else [])),
        *(waits_for, stop, alive),
    )
    layout, count = environment.spaces.layout, config.environment.num_envs
    if count > most_steps(layout):
        raise ConfigError(
            f"The field `environment.num_envs` has the value {count}, but a batch of experience holds at most "
            f"{most_steps(layout)} steps of observations as large as these. Ask for fewer, or make them smaller."
        )
    learner = make_learner(config, environment)
    found = _patiently(lambda: find_newest(objects), "looking for a checkpoint", stop, alive)
    counters = Counters()
    if found.checkpoint is not None:
        counters = restore_learner(
            learner, found.checkpoint, method_and_networks(config), environment.signature if actor else ""
        )
        counters.resumes += 1
        begin = fields(steps=counters.steps, updates=counters.updates, folder=found.checkpoint.manifest.folder)
        _log.info("resuming", extra=begin)
        take_up(store, lambda: _patiently(lambda: objects.find(HISTORY), "fetching the run's history", stop, alive))
    counters.signature = environment.signature
    best = _patiently(lambda: find_best(objects), "looking for the best checkpoint", stop, alive)
    # What the bucket holds can be gone back to; a better one that this run judged may not have come there.
    counters.judged.best = best.verdict
    saved = None if found.checkpoint is None else found.checkpoint.manifest.steps
    best_saved = None if best.checkpoint is None else best.checkpoint.manifest.steps
    uploads = Uploads(objects, found.latest_etag, saved, best.etag, best_saved)
    tracking = Tracking(config, folder, objects, counters.steps)
    try:
        if actor is not None:
            # Beside the receiver, whose limit it keeps.
            sink = StoreSink(Store(store.path, config.max_store_bytes), environment)
            recorder = Recorder(sink, layout, count)
            act = partial(learner.act, explore=True)
            actor.begin(environment, recorder, act, lambda: counters.weights_version, store.total_steps())
        trainer = Trainer(config, store, uploads, tracking, learner, counters, stop, layout, actor, best.checkpoint)
        try:
            done = trainer.run()
        finally:
            if actor is not None:
                actor.close()
        tracking.end()
        return _finish(done, uploads, objects, trainer.summary, stop), done
    finally:
        uploads.close()
        tracking.close()


def _finish(
    done: bool, uploads: Uploads, objects: ObjectStore, summary: Callable[[], bytes], stop: threading.Event
) -> ExitCode:
    """Wait for the final uploads; a finished run is marked DONE once its last checkpoint is up."""
    deadline = time.monotonic() + (PATIENCE_SECONDS if done else STOP_SECONDS)
    while not uploads.wait(0.2):
        notify.alive()
        if done and stop.is_set():
            deadline = min(deadline, time.monotonic() + STOP_SECONDS)
        if time.monotonic() > deadline and uploads.checkpoint_is_waiting():
            _log.error(
                "the last checkpoint could not be uploaded: a resumed run goes on from the one before it",
                extra=fields(saved_steps=uploads.saved_steps),
            )
            return ExitCode.STORAGE
        if time.monotonic() > deadline:
            _log.warning("the last checkpoint is saved, but metrics or curves were not uploaded in time")
            break
    if done:
        content = summary()
        _patiently(lambda: objects.put(DONE, content), "marking the run as done", stop)
        _log.info("the run is done")
    else:
        _log.info("stopped in order: everything is saved")
    return ExitCode.OK


def _patiently(
    call: Callable[[], _T], doing: str, stop: threading.Event, alive: Callable[[], None] = lambda: None
) -> _T:
    """The call's answer, waited for with the patience of the house; systemd is told so, and who watches, by `alive`."""

    def wait(seconds: float) -> bool:
        notify.starting(f"{doing}: waiting for the bucket")
        alive()
        return stop.wait(seconds)

    notify.starting(doing)
    alive()
    return patiently(call, doing, wait)


def _wait_for(
    find: Callable[[], _T | None], what: str, stop: threading.Event, alive: Callable[[], None] = lambda: None
) -> _T:
    """What `find` finds, as soon as it does; systemd, and by `alive` who watches, hear of it. Raises GaveUp."""
    next_notice = 0.0
    while (found := find()) is None:
        if not next_notice:
            _log.info(f"waiting for {what}")
        if time.monotonic() >= next_notice:
            notify.starting(f"waiting for {what}")
            alive()
            next_notice = time.monotonic() + NOTICE_SECONDS
        if stop.wait(0.1):
            raise GaveUp(f"Stopped while waiting for {what}.")
    return found


def _restored(path: Path) -> Store | None:
    """The receiver's store, once it says that everything is restored."""
    if not path.exists():
        return None
    store = Store(path)
    if store.is_ready():
        return store
    store.close()
    return None

"""Brings checkpoints and metrics to S3 in the background, so that learning never waits for the network.

The newest checkpoint wins: one that could not be uploaded before the next is due is given up, unless it is the best.
S3 may be silent or deny for as long as it likes: retries go on with capped backoff, and the log says so. LATEST is
written last, and only over the version that this writer knows, as BEST is; somebody else's write there ends the uploads
for good.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from runtime.logs import fields
from runtime.retry import Backoff
from train_cloud.object_store import (
    INSTANCE_FILE,
    ObjectNotFound,
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    PreconditionFailed,
)
from train_cloud.run_folder.keys import BEST, CHECKPOINTS, HISTORY, LATEST, MANIFEST, METRICS
from train_cloud.store_file import StoreError
from train_cloud.trainer.saving.manifest import Best, Checkpoint
from train_cloud.trainer.verdict import Verdict

_log = logging.getLogger(__name__)


class AnotherWriter(Exception):
    """Another trainer has written LATEST or BEST since this one read it; the text is a sentence."""


@dataclass(eq=False)
class _Pointer:
    """An object that names a checkpoint, and that only one trainer may write.

    `etag` is its own as this trainer found or wrote it, None without; `unanswered` what we wrote without hearing what
    became of it: that may yet arrive.
    """

    key: str
    etag: str | None
    unanswered: set[bytes] = field(default_factory=set)


class Uploads:
    """One thread that uploads what it is handed.

    `latest_etag` is LATEST's as this trainer found it, None without, and `best_etag` BEST's; `saved_steps` are the
    checkpoint's that it goes on from, `best_steps` of the best.
    """

    def __init__(
        self,
        objects: ObjectStore,
        latest_etag: str | None,
        saved_steps: int | None = None,
        best_etag: str | None = None,
        best_steps: int | None = None,
    ) -> None:
        self._objects = objects
        self._latest, self._best = _Pointer(LATEST, latest_etag), _Pointer(BEST, best_etag)
        self._whole: set[str] = set()
        """Folders of checkpoints that are whole in the bucket."""
        self._changed = threading.Condition()
        self._checkpoint: Checkpoint | None = None
        self._beside: dict[str, Callable[[], object]] = {}
        """What to upload besides, once and as well as it goes, by what it is."""
        self._refusal: str | None = None
        self._closed = False
        self._idle = True
        self.saved_steps = saved_steps
        """Steps of the newest checkpoint that LATEST is known to name."""
        self.best_steps = best_steps
        """Steps of the checkpoint that BEST is known to name."""
        self._swept = False
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Upload `checkpoint`; one still waiting is given up for it. Raises AnotherWriter, see the class."""
        self.check()
        with self._change():
            self._checkpoint = checkpoint

    def best(self, checkpoint: Checkpoint, verdict: Verdict) -> None:
        """Have BEST name `checkpoint`, once and as well as it goes; `best_steps` says when it does."""
        with self._change():
            self._beside["best"] = lambda: self._put_best(checkpoint, verdict)

    def metrics(self, document: Callable[[int | None], bytes]) -> None:
        """Upload metrics.json once, as well as it goes; the next one comes soon.

        It is made when its turn comes, of the `saved_steps` of then: no checkpoint is newer than the one it names.
        """
        with self._change():
            self._beside["metrics"] = lambda: self._objects.put(METRICS, document(self.saved_steps))

    def history(self, document: Callable[[], bytes]) -> None:
        """Upload history.json once, as well as it goes; it is made when its turn comes, and may raise StoreError."""
        with self._change():
            self._beside["history"] = lambda: self._objects.put(HISTORY, document())

    def curves(self, upload: Callable[[], None]) -> None:
        """Call `upload` once after what is waiting, as well as it goes; it may raise ObjectStoreError or OSError."""
        with self._change():
            self._beside["curves"] = upload

    def check(self) -> None:
        """Raise AnotherWriter if LATEST or BEST belongs to somebody else."""
        if self._refusal is not None:
            raise AnotherWriter(self._refusal)

    def wait(self, seconds: float) -> bool:
        """Wait until all is uploaded, at most `seconds`; whether it is. Raises AnotherWriter."""
        with self._changed:
            self._changed.wait_for(lambda: self._refusal is not None or self._idle, seconds)
            done = self._idle
        self.check()
        return done

    def checkpoint_is_waiting(self) -> bool:
        """Whether a checkpoint was handed in that is not saved yet."""
        return self._checkpoint is not None

    def close(self) -> None:
        """End the thread; what is not uploaded by then stays undone."""
        with self._change():
            self._closed = True

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Hold the lock, and wake the thread for what was changed."""
        with self._changed:
            yield
            self._idle = False
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle = self._checkpoint is None and not self._beside
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or not self._idle)
                if self._closed:
                    return
                checkpoint, beside, self._beside = self._checkpoint, self._beside, {}
            # The checkpoint first: when an instance has little time left, it alone matters.
            if checkpoint is not None:
                self._upload_checkpoint(checkpoint)
            if self.saved_steps is not None and checkpoint is not None and not self._swept:
                self._sweep(f"{CHECKPOINTS}{self.saved_steps:012d}")
            for what, upload in beside.items():
                self._as_well_as_it_goes(what, upload)

    def _as_well_as_it_goes(self, what: str, upload: Callable[[], object]) -> None:
        try:
            upload()
        except (ObjectStoreError, StoreError, OSError) as error:
            _log.warning(f"{what} not uploaded", extra=fields(reason=str(error)))
        except Exception:
            # Whatever is wrong with it, the thread lives on: checkpoints are its work too.
            _log.exception(f"{what} not uploaded: an unexpected error")

    def _sweep(self, before: str) -> None:
        """Delete what killed or superseded uploads left: the folders before `before` that have no manifest.

        An instance leaves them: its role may delete nothing.
        """
        if INSTANCE_FILE.exists():
            return
        try:
            keys = self._objects.list(CHECKPOINTS)
            complete = tuple(key.removesuffix(MANIFEST) for key in keys if key.endswith(f"/{MANIFEST}"))
            left = [key for key in keys if key < before and "/" in key.removeprefix(CHECKPOINTS)]
            left = [key for key in left if key[: key.rindex("/") + 1] not in complete]
            for key in left:
                self._objects.delete(key)
        except ObjectStoreDenied as error:
            _log.info("parts of checkpoints that were never finished stay", extra=fields(reason=str(error)))
        except ObjectStoreError as error:
            _log.warning("parts of checkpoints not swept, trying again", extra=fields(reason=str(error)))
            return
        else:
            if left:
                _log.info("swept parts of checkpoints that were never finished", extra=fields(objects=len(left)))
        self._swept = True

    def _upload_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Upload `checkpoint` unless a newer one is handed in or the thread is closed before that succeeds."""
        began, backoff, manifest = time.monotonic(), Backoff(), checkpoint.manifest
        while True:
            try:
                if not self._put(checkpoint):
                    return
                break
            except PreconditionFailed:
                self._refuse()
                return
            except Exception as error:
                pause, waited = backoff.seconds(), round(time.monotonic() - began)
                _log.warning(
                    "checkpoint not uploaded yet, training goes on",
                    exc_info=not isinstance(error, ObjectStoreError),
                    extra=fields(steps=manifest.steps, for_s=waited, retry_in_s=round(pause, 1), reason=str(error)),
                )
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._checkpoint is not checkpoint, pause)
                if self._closed or self._checkpoint is not checkpoint:
                    return
        self.saved_steps = manifest.steps
        with self._changed:
            if self._checkpoint is checkpoint:
                self._checkpoint = None
        size, seconds = sum(entry.bytes for entry in manifest.files.values()), round(time.monotonic() - began, 3)
        saved = fields(steps=manifest.steps, updates=manifest.updates, bytes=size, seconds=seconds)
        _log.info("checkpoint saved", extra=saved)

    def _put(self, checkpoint: Checkpoint) -> bool:
        """Every file, then the manifest, then LATEST; False when a newer checkpoint came before the manifest.

        Raises PreconditionFailed when LATEST is not what we know.
        """
        folder = checkpoint.manifest.folder
        self._put_all({folder + name: data for name, data in checkpoint.files.items()})
        if self._checkpoint is not checkpoint:
            return False
        self._objects.put(folder + MANIFEST, checkpoint.manifest_bytes)
        self._whole.add(folder)
        self._point(self._latest, checkpoint.manifest_bytes)
        return True

    def _put_best(self, checkpoint: Checkpoint, verdict: Verdict) -> None:
        """What of a checkpoint is not in the bucket, as it was given up for a newer one, and BEST."""
        manifest = checkpoint.manifest
        if manifest.folder not in self._whole:
            self._put_all({manifest.folder + name: data for name, data in checkpoint.files.items()})
            self._objects.put(manifest.folder + MANIFEST, checkpoint.manifest_bytes)
            self._whole.add(manifest.folder)
        try:
            self._point(self._best, msgspec.json.format(msgspec.json.encode(Best(manifest=manifest, verdict=verdict))))
        except PreconditionFailed:
            self._refuse()
            return
        self.best_steps = manifest.steps
        _log.info("best checkpoint kept", extra=fields(steps=manifest.steps))

    def _refuse(self) -> None:
        with self._changed:
            self._refusal = (
                "Another trainer has written a checkpoint of this run since this one started. Two trainers "
                "would spoil each other's work, so this one stops. Let only one run at a time."
            )
            self._checkpoint = None

    def _point(self, pointer: _Pointer, body: bytes) -> None:
        """Write `body` over what we know to be there; raises PreconditionFailed when somebody else's is."""
        pointer.unanswered.add(body)
        try:
            pointer.etag = self._objects.put(
                pointer.key, body, if_match=pointer.etag, if_none_match=pointer.etag is None
            )
        except ObjectNotFound:
            pointer.etag = None  # somebody deleted it: ours may be the first again
            raise
        except PreconditionFailed:
            found, etag = self._objects.get(pointer.key)
            if etag == pointer.etag:
                raise ObjectStoreUnavailable(
                    f"The bucket reported a conflict about {pointer.key}, and there is none."
                ) from None
            # An earlier attempt, also one of an older checkpoint, may have arrived although its answer did not.
            if found not in pointer.unanswered:
                raise
            pointer.etag = etag
            if found != body:
                raise ObjectStoreUnavailable(f"An older write of {pointer.key} by this trainer arrived late.") from None
        pointer.unanswered.clear()

    def _put_all(self, objects: Mapping[str, bytes]) -> None:
        """Put all at once: where each call is slow, a checkpoint then takes the time of three calls."""
        failures: list[Exception] = []

        def put(key: str, data: bytes) -> None:
            try:
                self._objects.put(key, data)
            except Exception as error:
                # Whatever it is: a manifest must not name a file that may not be there.
                failures.append(error)

        # No executor: its threads would hold up the process's end while the bucket is silent.
        threads = [threading.Thread(target=put, args=item, name="put", daemon=True) for item in objects.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

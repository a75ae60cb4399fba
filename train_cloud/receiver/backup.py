"""The thread that brings stored experience to the bucket, a segment for each stream every few seconds.

A batch is marked safe only after the PUT of its segment succeeded. A bucket that refuses, fails or hangs stops nothing
else: the thread tries again, ever more slowly up to a cap, and says so in the log. It reads only what is committed.
What is safe and too old for any trainer to want again is pruned from the store, a little at a time.
"""

import logging
import threading
import time
from collections.abc import Callable

from runtime.logs import fields
from runtime.retry import Backoff
from train_cloud.object_store import (
    CALL_SECONDS,
    ObjectStore,
    ObjectStoreError,
    ObjectStoreUnavailable,
)
from train_cloud.receiver.segments import MAX_SEGMENT_BYTES, encode_segment, make_segment
from train_cloud.run_folder.keys import TRACKS
from train_cloud.store import Store, StoreError
from train_cloud.track_table import mark_track_safe, unsafe_tracks

MAX_BATCHES = 2048
"""Most batches in one segment."""
PRUNED_AT_ONCE = 256
"""Most batches that one transaction deletes: an ack waits for no more than that."""
PRUNING_PAUSE_SECONDS = 0.05
"""Between two such transactions, so that who waits for the store gets it."""

_log = logging.getLogger(__name__)


class Backup:
    """Uploads and prunes until flush(); `on_safe(stream, through)` is called in its thread after each segment."""

    def __init__(
        self,
        store: Store,
        objects: ObjectStore,
        segment_seconds: float,
        on_safe: Callable[[str, int], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._store, self._objects, self._seconds, self._on_safe = store, objects, segment_seconds, on_safe
        self._backoff = backoff or Backoff()
        self._failed: set[str] = set()
        self._failing_since: float | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="backup", daemon=True)

    def start(self) -> None:
        """Begin uploading."""
        self._thread.start()

    def failing_seconds(self) -> float:
        """How long nothing could be uploaded, s; 0 when the last attempt succeeded."""
        since = self._failing_since
        return 0.0 if since is None else time.monotonic() - since

    def flush(self, seconds: float) -> bool:
        """End the regular uploads and upload what is stored now, trying for at most `seconds`.

        Returns whether it is all in the bucket.
        """
        self._stopping.set()
        deadline = time.monotonic() + seconds
        while self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            try:
                delay = self._attempt()
            finally:
                self._lock.release()
            # An attempt may take CALL_SECONDS before it fails: one that could end too late is not begun.
            left = deadline - CALL_SECONDS - time.monotonic()
            if not delay or left <= 0:
                return not delay
            time.sleep(min(delay, left))
        return False

    def _run(self) -> None:
        delay = 0.0
        while not self._stopping.wait(delay or self._seconds):
            with self._lock:
                delay = self._attempt()
            self._prune()

    def _prune(self) -> None:
        """Delete what nobody needs any more, until nothing is left of it or flush() is called."""
        pruned, more = 0, True
        try:
            while more and not self._stopping.wait(PRUNING_PAUSE_SECONDS if pruned else 0):
                deleted = self._store.prune(PRUNED_AT_ONCE)
                pruned, more = pruned + deleted, deleted > 0
        except StoreError as error:
            _log.warning("old experience could not be pruned, trying again", extra=fields(reason=error))
        if pruned:
            _log.info("pruned old experience, which is in the bucket", extra=fields(batches=pruned))

    def _attempt(self) -> float:
        """Upload everything that is stored; return the seconds to wait when the bucket failed, else 0."""
        try:
            self._upload_all()
        except Exception as error:
            delay = self._backoff.seconds()
            self._failing_since = self._failing_since or time.monotonic()
            if not isinstance(error, (ObjectStoreError, StoreError)):
                _log.exception("backup met an unexpected error, trying again")
                return delay
            # A refusal needs a person; an outage only patience.
            level = logging.WARNING if isinstance(error, (ObjectStoreUnavailable, StoreError)) else logging.ERROR
            figures = {"failing_seconds": round(self.failing_seconds(), 1), "next_try_seconds": round(delay, 1)}
            text = "backup failed, nothing was marked safe, trying again"
            _log.log(level, text, extra=fields(reason=error, **figures))
            return delay
        if self._failing_since is not None:
            _log.info("backup works again", extra=fields(after_seconds=round(self.failing_seconds(), 1)))
            self._failing_since = None
        self._backoff.reset()
        return 0.0

    def _upload_all(self) -> None:
        """Upload every stream; what fails of one is raised when the others had their turn."""
        failure: Exception | None = None
        # Who failed last comes last.
        for stream in sorted(self._store.unsafe_streams(), key=self._failed.__contains__):
            self._failed.discard(stream)
            try:
                self._upload(stream)
            except Exception as error:
                self._failed.add(stream)
                failure = error
                if isinstance(error, ObjectStoreUnavailable):
                    # Each further stream would only wait for the silent bucket again.
                    break
        if failure is not None:
            raise failure
        for sha256, content in unsafe_tracks(self._store):
            self._objects.put(f"{TRACKS}{sha256}.json", content)
            mark_track_safe(self._store, sha256)

    def _upload(self, stream: str) -> None:
        while True:
            state = self._store.stream(stream)
            batches = self._store.unsafe_batches(stream, MAX_BATCHES, MAX_SEGMENT_BYTES)
            if state is None or not batches:
                return
            segment = make_segment(stream, state, batches)
            self._objects.put(str(segment.key), encode_segment(segment))
            self._store.mark_safe(stream, segment.key.last)
            self._on_safe(stream, segment.key.last)
            if len(batches) < MAX_BATCHES and sum(len(batch.blob) for batch in batches) < MAX_SEGMENT_BYTES:
                return

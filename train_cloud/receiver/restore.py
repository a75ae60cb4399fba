"""What a new instance takes over from the bucket: every stream's position, and the newest batches in their old order.

A segment that is damaged or missing is said loudly and leaves a hole: what lies beyond it does not count, because a
stream has no gaps; the bridge sends it again as far as its spool still holds it. Segments may overlap (a PUT that
succeeded without anybody hearing of it); each batch counts once. Nothing is written to the bucket.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice

from runtime.logs import fields
from runtime.retry import GaveUp
from train_cloud import notify
from train_cloud.object_store import ObjectNotFound, ObjectStore, patiently
from train_cloud.receiver.segments import Segment, SegmentError, SegmentKey, decode_segment, parse_key
from train_cloud.run_folder.keys import EXPERIENCE
from train_cloud.store import Store, StoredBatch, StreamState

DOWNLOADS_AT_ONCE = 8

_log = logging.getLogger(__name__)


class RestoreError(Exception):
    """The run's experience cannot be taken over; the text says why and what to do."""


@dataclass(slots=True)
class _Stream:
    """One stream while its segments are read, newest first."""

    unread: deque[SegmentKey]
    read: list[Segment] = field(default_factory=list)
    batches: dict[int, StoredBatch] = field(default_factory=dict)
    oldest_id: float = float("inf")

    def take(self, segment: Segment) -> None:
        self.read.append(segment)
        for batch in segment.batches():
            self.batches.setdefault(batch.number, batch)
        self.oldest_id = min(self.oldest_id, segment.records[0].id)

    def state(self) -> StreamState:
        newest = self.read[0]
        through = newest.key.last
        steps = newest.steps_before + sum(record.steps for record in newest.records)
        return StreamState(newest.bridge, newest.signature, through, through, steps, steps, newest.spaces)


class _Bucket:
    """Reads segments ahead of their use; remembers those that turned out to be damaged."""

    def __init__(self, objects: ObjectStore, stop: threading.Event) -> None:
        self._objects, self._stop = objects, stop
        self._pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="restore")
        self._pending: dict[SegmentKey, Future[Segment]] = {}
        self.damaged: set[SegmentKey] = set()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def keys(self) -> dict[str, list[SegmentKey]]:
        """Every segment that the bucket lists, by stream."""
        found: dict[str, list[SegmentKey]] = {}
        for name in patiently(lambda: self._objects.list(EXPERIENCE), "listing the experience", self._wait):
            key = parse_key(name)
            if key is None:
                _log.warning("an object among the segments is none, passed over", extra=fields(key=name))
            else:
                found.setdefault(key.stream, []).append(key)
        return found

    def segment(self, key: SegmentKey, following: Iterable[SegmentKey]) -> Segment:
        """The segment at `key`, while those `following` begin to load. Raises SegmentError, ObjectNotFound."""
        if self._stop.is_set():
            raise GaveUp("Stopped before everything was restored.")
        notify.starting(f"restoring: {key}")
        for wanted in (key, *following):
            if wanted not in self._pending:
                self._pending[wanted] = self._pool.submit(self._load, wanted)
        return self._pending[key].result()

    def _load(self, key: SegmentKey) -> Segment:
        data, _ = patiently(lambda: self._objects.get(str(key)), "reading experience", self._wait)
        return decode_segment(data, key)

    def _wait(self, seconds: float) -> bool:
        notify.starting("restoring: waiting for the bucket")
        return self._stop.wait(seconds)


def restore(store: Store, objects: ObjectStore, steps: int, signature: str | None, stop: threading.Event) -> None:
    """Fill the empty `store` from the bucket: all positions, and the newest batches that make up `steps` steps.

    Raises RestoreError when the experience belongs to another task than `signature` (None: whichever is there),
    ObjectStoreUnavailable or ObjectStoreDenied when the bucket has done so for PATIENCE_SECONDS, GaveUp when `stop`
    is set meanwhile.
    """
    with closing(_Bucket(objects, stop)) as bucket:
        listed = bucket.keys()
        while (streams := _read_newest(listed, bucket, steps, signature)) is None:
            pass
    for name, keys in listed.items():
        through = streams[name].state().stored_through if name in streams else 0
        unusable = [key for key in keys if key.last > through]
        if unusable:
            _log.error(
                "a stream has a hole in the bucket, what lies beyond it is not used",
                extra=fields(stream=name, stored_through=through, newest=max(unusable).last, segments=len(unusable)),
            )
    batches = _in_order(streams.values())
    store.restore_batches({name: stream.state() for name, stream in streams.items()}, batches)
    _log.info(
        "restored from the bucket",
        extra=fields(streams=len(streams), batches=len(batches), steps=sum(batch.steps for batch in batches)),
    )


def _read_newest(
    listed: dict[str, list[SegmentKey]], bucket: _Bucket, steps: int, signature: str | None
) -> dict[str, _Stream] | None:
    """The streams with their newest segments read; None when one was found damaged, so that it begins anew."""
    streams = {name: _Stream(_without_gaps(keys, bucket.damaged)) for name, keys in listed.items()}
    streams = {name: stream for name, stream in streams.items() if stream.unread}
    total = 0
    while unfinished := [stream for stream in streams.values() if stream.unread]:
        # Ids grow along a stream: the newest batch that is still unread lies where the least far back was read.
        stream = max(unfinished, key=lambda stream: stream.oldest_id)
        read = (batch for one in streams.values() for batch in one.batches.values())
        if total >= steps and sum(batch.steps for batch in read if batch.id >= stream.oldest_id) >= steps:
            for other in streams.values():
                other.batches = {n: b for n, b in other.batches.items() if b.id >= stream.oldest_id}
            break
        key = stream.unread.popleft()
        try:
            segment = bucket.segment(key, islice(stream.unread, DOWNLOADS_AT_ONCE // len(unfinished)))
        except (SegmentError, ObjectNotFound) as error:
            _log.error("a segment of experience is unusable", extra=fields(key=str(key), reason=error))
            bucket.damaged.add(key)
            return None
        if signature is not None and segment.signature != signature:
            raise RestoreError(
                f"The bucket holds experience of another task under this run_id ({segment.signature!r}; this run's "
                f"task is {signature!r}). Give the run a new run_id, or its old task settings."
            )
        stream.take(segment)
        total += sum(record.steps for record in segment.records)
    return streams


def _without_gaps(keys: list[SegmentKey], damaged: set[SegmentKey]) -> deque[SegmentKey]:
    """The usable segments that follow each other from batch 1 on, newest first."""
    through, usable = 0, []
    for key in sorted(keys):
        if key in damaged:
            continue
        if key.first > through + 1:
            break
        through = max(through, key.last)
        usable.append(key)
    return deque(sorted(usable, key=lambda key: key.last, reverse=True))


def _in_order(streams: Iterable[_Stream]) -> list[StoredBatch]:
    """All batches by id; where two instances gave the same id, or a later batch a lower one, ids move up."""
    batches = [
        batch for stream in streams for batch in _rising(stream.batches[number] for number in sorted(stream.batches))
    ]
    return _rising(sorted(batches, key=lambda batch: (batch.id, batch.stream)))


def _rising(batches: Iterable[StoredBatch]) -> list[StoredBatch]:
    """The batches in this order, each with an id above that of the one before."""
    last, risen = 0, []
    for batch in batches:
        last = max(batch.id, last + 1)
        risen.append(replace(batch, id=last))
    return risen

"""Reads a run's experience from the bucket: stream after stream, batch after batch, as it was driven.

A run can be gigabytes: what is in memory at a time is the segment at hand and READ_AHEAD more, as they lie in the
bucket. Segments may overlap; each batch comes once. A segment that is damaged or missing leaves a hole, which is told
and counted: what lies beyond it is experience all the same, but nothing knows how it joins what was before.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from experience.batches import Batch, CodecError
from experience.codec import decode_batch
from experience.environment import Environment
from runtime.logs import fields
from train_cloud.environment import environment_of
from train_cloud.export.errors import ExportError
from train_cloud.object_store import ObjectNotFound, ObjectStore, patiently
from train_cloud.receiver.segments import Segment, SegmentError, SegmentKey, decode_segment, parse_key
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.keys import EXPERIENCE

READ_AHEAD = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driven:
    """A batch and where it belongs: `number` counts a stream's batches from 1."""

    stream: str
    bridge: str
    number: int
    batch: Batch


class Experience:
    """The experience of the run of `config`, as it lies in `objects` now.

    Attributes: environment: what was driven; streams: how many there are; left_out: what could not be read, by what it
    is, as `driven` comes across it. Raises ExportError where there is none, or of another task; ObjectStoreError.
    """

    def __init__(self, config: RunConfig, objects: ObjectStore) -> None:
        self._objects = objects
        keys = sorted(key for name in objects.list(EXPERIENCE) if (key := parse_key(name)) is not None)
        if not keys:
            raise ExportError(
                f"The bucket holds no experience of the run {config.run_id}: nothing was driven yet, or its objects "
                "were deleted."
            )
        self._streams = {stream: list(of_stream) for stream, of_stream in groupby(keys, lambda key: key.stream)}
        self.left_out: Counter[str] = Counter()
        self.environment = self._environment(config)

    @property
    def streams(self) -> int:
        """How many there are."""
        return len(self._streams)

    def driven(self) -> Iterator[Driven]:
        """Every batch once. Raises ExportError, ObjectStoreError."""
        for stream, keys in self._streams.items():
            through = 0
            for segment in self._segments(keys):
                if segment.signature != self.environment.signature:
                    raise ExportError(
                        f"The bucket holds experience of another task under this run_id ({segment.signature!r}; the "
                        f"run.json's task is {self.environment.signature!r}). Give the run.json that the run was "
                        "driven with."
                    )
                for record in segment.batches():
                    if record.number <= through:
                        continue
                    if record.number > through + 1:
                        self._leave_out("hole", stream=stream, after=through, before=record.number)
                    through = record.number
                    try:
                        batch = decode_batch(record.blob, self.environment.spaces.layout)
                    except CodecError as error:
                        self._leave_out("damaged batch", stream=stream, number=record.number, reason=error)
                        continue
                    yield Driven(stream, segment.bridge, record.number, batch)

    def _environment(self, config: RunConfig) -> Environment:
        """From the settings alone for racing; another environment's spaces are told by its first sound segment."""
        found = environment_of(config)
        told = (segment.spaces for keys in self._streams.values() for segment in self._segments(keys))
        while found is None:
            try:
                found = environment_of(config, [next(told)])
            except StopIteration:
                raise ExportError(
                    f"No segment of the run {config.run_id} tells what its observations and actions hold."
                ) from None
        # What was found to be unusable on the way is met again.
        self.left_out.clear()
        return found

    def _segments(self, keys: list[SegmentKey]) -> Iterator[Segment]:
        """Those that are sound, in order, while the next ones are fetched."""
        waiting: deque[tuple[SegmentKey, Future[bytes]]] = deque()
        unread = iter(keys)
        with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="experience") as pool:
            try:
                while True:
                    while len(waiting) < READ_AHEAD and (key := next(unread, None)) is not None:
                        waiting.append((key, pool.submit(self._fetch, key)))
                    if not waiting:
                        return
                    key, fetched = waiting.popleft()
                    try:
                        yield decode_segment(fetched.result(), key)
                    except (SegmentError, ObjectNotFound) as error:
                        self._leave_out("unusable segment", key=str(key), reason=error)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, key: SegmentKey) -> bytes:
        return patiently(lambda: self._objects.get(str(key)), "reading experience", time.sleep)[0]

    def _leave_out(self, what: str, **where: object) -> None:
        self.left_out[what] += 1
        _log.warning(f"{what} in the bucket: the export goes on without it", extra=fields(**where))

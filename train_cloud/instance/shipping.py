"""Brings the journal's increments into the bucket and, where a log group is named, to CloudWatch Logs.

A piece of the log counts as shipped when the bucket has it: only then the cursor moves, so a failed upload is done
again and no line is lost (some may come twice). CloudWatch is a second copy: what it does not take is said and left
out. One call ships a bounded amount; the rest is the next one's.
"""

import gzip
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from runtime.logs import fields
from train_cloud.instance.journal import Entry, JournalError, entries_after, keep_cursor, read_cursor
from train_cloud.object_store import ObjectStore, ObjectStoreError

CHUNK_BYTES = 4 * 2**20
"""Size of one object before compression."""
CHUNKS_AT_ONCE = 8
SHIP_SECONDS = 30.0
"""No further chunk is begun after this time."""

EVENTS_IN_BATCH = 10_000
BATCH_BYTES = 2**20
EVENT_OVERHEAD_BYTES = 26
BATCH_SPAN_MS = 24 * 3600 * 1000 - 1000
"""Limits of PutLogEvents. Source: the CloudWatch Logs API reference."""

_log = logging.getLogger(__name__)


def ship_log(
    objects: ObjectStore, folder: Path, instance_id: str, shipped_before: int, logs: Any | None, group: str
) -> int:
    """Ship what the journal holds behind the cursor in `folder`; how many objects that made.

    Args:
        shipped_before: objects that this instance shipped earlier; keeps their names apart.
        logs: CloudWatch Logs client, None without.
    """
    shipped, began = 0, time.monotonic()
    try:
        for chunk in _chunks(entries_after(read_cursor(folder))):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            key = f"logs/{instance_id}/{stamp}-{shipped_before + shipped:06d}.log.gz"
            objects.put(key, gzip.compress("".join(f"{entry.line}\n" for entry in chunk).encode(), 6))
            keep_cursor(folder, chunk[-1].cursor)
            shipped += 1
            if logs is not None:
                _copy_to_cloudwatch(logs, group, instance_id, chunk)
            if shipped == CHUNKS_AT_ONCE or time.monotonic() - began > SHIP_SECONDS:
                _log.warning("the log is longer than one look ships; the rest follows", extra=fields(objects=shipped))
                break
    except (ObjectStoreError, JournalError, OSError) as error:
        _log.warning("the log is not up to date in the bucket; it will be tried again", extra=fields(problem=error))
    return shipped


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries in pieces of at most CHUNK_BYTES, or one entry."""
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.line.encode()) + 1
        if chunk and size + length > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += length
    if chunk:
        yield chunk


def event_batches(entries: Sequence[Entry]) -> Iterator[list[dict[str, Any]]]:
    """The entries as PutLogEvents takes them: in order of time, in batches within its limits."""
    batch: list[dict[str, Any]] = []
    size = 0
    # The wall clock may have jumped between two entries.
    for entry in sorted(entries, key=lambda entry: entry.at_us):
        at_ms, length = entry.at_us // 1000, len(entry.line.encode()) + EVENT_OVERHEAD_BYTES
        too_long = batch and at_ms - batch[0]["timestamp"] > BATCH_SPAN_MS
        if too_long or len(batch) == EVENTS_IN_BATCH or size + length > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append({"timestamp": at_ms, "message": entry.line})
        size += length
    if batch:
        yield batch


def _copy_to_cloudwatch(logs: Any, group: str, stream: str, entries: Sequence[Entry]) -> None:
    try:
        _make_stream(logs, group, stream)
        for batch in event_batches(entries):
            answer = logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=batch)
            if answer.get("rejectedLogEventsInfo"):
                _log.warning("CloudWatch took only some lines", extra=fields(refused=answer["rejectedLogEventsInfo"]))
    except (BotoCoreError, ClientError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        _log.warning("CloudWatch does not take the log; the bucket has it", extra=fields(group=group, problem=code))


def _make_stream(logs: Any, group: str, stream: str) -> None:
    try:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
            raise

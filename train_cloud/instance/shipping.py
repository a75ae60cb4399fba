"""Ships the journal: lifeline.sh brings a piece of it to the bucket, and what it shipped goes to CloudWatch Logs.

There is one shipper, and it is the shell's, since a boot that fails before there is Python must ship as well. Where a
log group is named CloudWatch has a second copy; what it does not take is said and left out.
"""

import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from runtime.logs import fields
from train_cloud.instance.clients import aws_client
from train_cloud.instance.config import Deployment
from train_cloud.run_folder.files import LIFELINE

SHIPPER = Path(__file__).with_name(LIFELINE)
MAX_ENTRY_BYTES = 64 * 2**10

EVENTS_IN_BATCH = 10_000
BATCH_BYTES = 2**20
EVENT_OVERHEAD_BYTES = 26
BATCH_SPAN_MS = 24 * 3600 * 1000 - 1000
"""Limits of PutLogEvents. Source: the CloudWatch Logs API reference."""

_log = logging.getLogger(__name__)


def ship_log(deployment: Deployment, stream: str) -> None:
    """Ship the next piece of the journal; in the log group its stream is `stream`.

    Raises subprocess.CalledProcessError when lifeline.sh is broken; a bucket that takes nothing is said by it.
    """
    group = deployment.config.log_group
    with tempfile.TemporaryDirectory(dir=deployment.run_folder) as folder:
        copy = Path(folder) / "piece"
        subprocess.run(["bash", str(SHIPPER), "ship", str(copy)], stdin=subprocess.DEVNULL, check=True)
        if group is not None and copy.exists():
            logs = aws_client("logs", deployment.config.region)
            _copy_to_cloudwatch(logs, group, stream, copy.read_text(encoding="utf-8", errors="replace"))


def event_batches(text: str) -> Iterator[list[dict[str, Any]]]:
    """The journal's entries as PutLogEvents takes them: in order of time, in batches within its limits."""
    batch: list[dict[str, Any]] = []
    size = 0
    # The wall clock may have jumped between two entries.
    for at_ms, message in sorted(_entries(text), key=lambda entry: entry[0]):
        length = len(message.encode()) + EVENT_OVERHEAD_BYTES
        too_long = batch and at_ms - batch[0]["timestamp"] > BATCH_SPAN_MS
        if too_long or len(batch) == EVENTS_IN_BATCH or size + length > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append({"timestamp": at_ms, "message": message})
        size += length
    if batch:
        yield batch


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Time (ms since 1970) and text of each entry: it begins with its time, and its other lines with spaces."""
    for entry in re.split(r"\n(?=\d)", text.rstrip("\n")):
        try:
            moment = datetime.fromisoformat(entry.partition(" ")[0])
        except ValueError:
            # Cut off by the piece's end: the next one has it whole.
            continue
        yield int(moment.timestamp() * 1000), entry.encode()[:MAX_ENTRY_BYTES].decode(errors="ignore")


def _copy_to_cloudwatch(logs: Any, group: str, stream: str, text: str) -> None:
    try:
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        for batch in event_batches(text):
            answer = logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=batch)
            if answer.get("rejectedLogEventsInfo"):
                _log.warning("CloudWatch took only some lines", extra=fields(refused=answer["rejectedLogEventsInfo"]))
    except (BotoCoreError, ClientError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        _log.warning("CloudWatch does not take the log; the bucket has it", extra=fields(group=group, problem=code))

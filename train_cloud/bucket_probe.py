"""Tries what keeps a run, a bucket's server or a folder, before the run relies on it.

An object is written, read, rewritten under conditions and deleted. What a run cannot do without ends it with a
sentence; what it can do without is said once.
"""

import logging
import uuid

from runtime.logs import fields
from train_cloud.object_store import (
    ObjectStore,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnavailable,
    ObjectStoreUnfit,
    PreconditionFailed,
)
from train_cloud.run_folder.keys import PROBES

_log = logging.getLogger(__name__)


def probe(objects: ObjectStore) -> None:
    """Try what `objects` are kept in, and let them go without conditions where it refuses those.

    AWS itself is not tried: it is what the others are measured by, and an instance's role may delete nothing.
    Raises ObjectStoreUnfit when what is written is not what is read, ObjectStoreUnavailable, ObjectStoreDenied.
    """
    if objects.is_aws:
        return
    key = PROBES + uuid.uuid4().hex
    written = f"The probe {key} of a run that begins.\n".encode()
    etag = objects.put(key, written)
    read, _ = objects.get(key)
    if read != written:
        raise ObjectStoreUnfit(
            f"{objects.place} does not keep what is written: {len(written)} bytes went there and {len(read)} others "
            "came back. Use another S3 server or file system, or a newer version of this one."
        )
    problem = _refusal_of_conditions(objects, key, written, etag)
    if problem:
        _log.warning(
            f"the bucket's server {problem}: training works, but a second trainer of this run would not be noticed and "
            "could overwrite checkpoints; let only one run at a time, or use a server with conditional writes",
            extra=fields(bucket=objects.place),
        )
    try:
        objects.delete(key)
    except (ObjectStoreDenied, ObjectStoreUnfit) as error:
        _log.warning(
            "the bucket's server does not let us delete: training works, and what it no longer needs stays",
            extra=fields(reason=str(error)),
        )


def _refusal_of_conditions(objects: ObjectStore, key: str, data: bytes, etag: str) -> str:
    """What the server does wrong with conditional writes of the object at `key`; empty when nothing."""
    ignored = []
    try:
        for name, condition in (("If-None-Match", None), ("If-Match", f'"{0:032x}"')):
            try:
                etag = objects.put(key, data, if_match=condition, if_none_match=condition is None)
                ignored.append(name)
            except PreconditionFailed:
                pass
        objects.put(key, data, if_match=etag)
    except ObjectStoreUnavailable:
        raise
    except ObjectStoreError as error:
        objects.conditional = False
        _log.warning("writes go without conditions from here on", extra=fields(reason=str(error)))
        return "refuses conditional writes"
    return f"ignores {' and '.join(ignored)}" if ignored else ""

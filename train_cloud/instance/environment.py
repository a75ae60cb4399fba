"""Keeps the installed Python environment in the bucket, so that the next instance restores it instead of building it.

The archive is made on disk and uploaded in parts, so that a small instance has memory left for its work. One that is
there already is replaced: an environment is built only where there was none that could be restored, and a broken
archive left alone would cost each launch another build.
"""

import logging
import os
import tarfile
import tempfile
from pathlib import Path

import zstandard

from runtime.logs import fields
from runtime.retry import retry
from train_cloud.object_store import SILENT_OR_DENIED, ObjectStore

LEVEL = 1
"""Of zstd: the upload waits for nobody, but the trainer wants the cores."""

_log = logging.getLogger(__name__)


def store_environment(objects: ObjectStore, environment: Path, key: str, patience_seconds: float) -> None:
    """Put the folder `environment` (the archive's root) under `key`. Raises ObjectStoreError, OSError."""
    # /tmp may be memory.
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        archive = Path(folder) / "environment.tar.zst"
        pack(environment, archive)
        size = archive.stat().st_size
        retry(lambda: objects.put_file(key, archive), SILENT_OR_DENIED, patience_seconds)
    _log.info("the environment is in the bucket", extra=fields(key=key, bytes=size))


def pack(folder: Path, archive: Path) -> None:
    """Write the content of `folder` as tar.zst. Raises OSError."""
    with (
        zstandard.open(archive, "wb", zstandard.ZstdCompressor(level=LEVEL)) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        tar.add(folder, arcname=".")

"""A Unix socket's path has at most 107 bytes (103 on macOS); the folder in which it lies may be deeper than that."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_BYTES = 100


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A path to the same place that can be bound, or connected to, within the block."""
    if len(os.fsencode(path)) <= _MAX_BYTES:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ac-") as folder:
        link = Path(folder) / "to"
        link.symlink_to(path.parent.absolute(), target_is_directory=True)
        yield str(link / path.name)

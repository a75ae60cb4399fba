"""What a user who may not look everywhere meets, also where the tests run as root."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def locked_out(folder: Path) -> Iterator[None]:
    """Within it, this process may not look into `folder`."""
    if sys.platform == "win32":
        pytest.skip("folders are locked in another way there")
    folder.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(_NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)

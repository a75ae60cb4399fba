"""Where tests find the real circuits and recorded laps, which are not part of the project."""

import os
from pathlib import Path

import pytest

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real_data(path: str) -> Path:
    """Return a file or folder of the real data; skip the test without it, but fail where CI=true promises it."""
    found = _DATA / path
    if not found.exists():
        reason = f"the real data are not here: ../shared/data/{path} does not exist beside the project's folder"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found

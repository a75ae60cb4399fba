"""Where tests find the real circuits and recorded laps, which are not part of the project."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REQUIRED_VARIABLE = "AC_REQUIRE_REAL_DATA"


def real_data(path: str | Path) -> Path:
    """A file or folder of the real data; without it the test is skipped, or fails where the data are promised."""
    found = _DATA / path
    if not found.exists():
        reason = f"the real data are not here: ../shared/data/{path} does not exist beside the project's folder"
        if promised(os.environ, _DATA):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def promised(environment: Mapping[str, str], data: Path) -> bool:
    """Whether nothing may be skipped: told so, or CI beside a folder of data; a fork's CI has only the project."""
    return environment.get(REQUIRED_VARIABLE) == "1" or (environment.get("CI") == "true" and data.is_dir())

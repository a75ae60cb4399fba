"""A running dashboard over a run that lives, for the tests beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dashboards import LivingRun, ThreadedDashboard


@pytest.fixture
def run(tmp_path: Path) -> Iterator[LivingRun]:
    running = LivingRun(tmp_path)
    running.progress(5_000, 4_500)
    yield running
    running.close()


@pytest.fixture
def dashboard(run: LivingRun) -> Iterator[ThreadedDashboard]:
    running = ThreadedDashboard(run.folder)
    yield running
    running.close()

"""A running receiver for the tests beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.receivers import CONFIG, ThreadedReceiver


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    running = ThreadedReceiver(CONFIG, tmp_path)
    yield running
    running.close()

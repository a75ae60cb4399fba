"""The Windows Python and the fake game as a Windows process sees it, for the tests of this folder."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fake_ac import mirror
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until
from tests.support.windows import Windows, windows_path, windows_python


@pytest.fixture(scope="session")
def windows() -> Iterator[Windows]:
    """The set-up Python; Windows stays up between the tests, which spares each of them its start."""
    system = windows_python()
    with system.start("-c", "print('UP', flush=True); input()") as waiting:
        # Whoever starts Windows lends its streams to Windows' own services, so that they end late.
        wait_until(lambda: "UP" in waiting.output, "Windows", 60.0)
        yield system


@pytest.fixture
def game(windows: Windows, tmp_path: Path) -> Iterator[FakeGame]:
    """A LIVE fake game whose pages are named mappings in Windows; what a Windows process makes comes back to it."""
    with FakeGame(tmp_path / "game") as running, mirrored(windows, running):
        running.live()
        yield running


@contextmanager
def mirrored(windows: Windows, game: FakeGame) -> Iterator[None]:
    """The game's pages as named mappings of Windows while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=mirror.serve, args=(game.shm, listener), daemon=True)
        server.start()
        host, port = listener.getsockname()
        with windows.start(windows_path(Path(mirror.__file__)), host, str(port)) as client:
            wait_until(lambda: "MIRRORING" in client.output, "the mirror in Windows", 30.0)
            yield
        server.join(10.0)

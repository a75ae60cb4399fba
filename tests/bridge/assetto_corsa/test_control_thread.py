"""What the control thread does within a step, call by call: nothing with the disk, the network or a compressor."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bridge.assetto_corsa.session import GameSettings
from bridge.drive import Driver
from bridge.garage import Settings, assembled_drive
from racing.driving import Step
from racing.task import TaskConfig, task_signature
from tests.support.fake_game import FakeGame
from tests.support.policies import as_update, following_policy
from tests.support.wire_server import WireServer
from wire.process import ExitCode

FORBIDDEN_FILES = ("/sqlite3/", "/websockets/", "/zstandard/", "/asyncio/", "/bridge/spool.py", "/wire/codec.py")
FORBIDDEN_MODULES = ("_socket", "_ssl", "_sqlite3", "sqlite3", "zstandard", "zlib", "select")
FORBIDDEN_NAMES = ("open", "fsync", "unlink", "replace", "rename")


class Watched:
    """A driver whose steps are watched: `seen` holds the calls that have no place in them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.seen: set[str] = set()
        self.over, self.calls = False, 0

    @property
    def version(self) -> int:
        return self._driver.version

    def waits_for(self) -> str | None:
        return self._driver.waits_for()

    def finish(self) -> None:
        self._driver.finish()

    def step(self) -> Step | None:
        sys.setprofile(self._look)
        try:
            return self._driver.step()
        finally:
            sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += 1
        if event == "call":
            file = frame.f_code.co_filename.replace("\\", "/")
            if any(part in file for part in FORBIDDEN_FILES):
                self.seen.add(f"{file}: {frame.f_code.co_name}")
        elif event == "c_call":
            module, name = getattr(argument, "__module__", None), argument.__name__
            if module in FORBIDDEN_MODULES or (module in ("posix", "nt", "io", "_io") and name in FORBIDDEN_NAMES):
                self.seen.add(f"{module}.{name}")


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
        running.live()
        yield running


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="the fake game's pages are files here")
def test_a_step_touches_no_disk_no_network_and_no_compressor(game: FakeGame, tmp_path: Path) -> None:
    settings = Settings(
        recording=None,
        track="",
        cars=1,
        rate=None,
        real_time=True,
        task=(),
        spool=tmp_path / "spool",
        spool_limit_bytes=2**26,
        steps=100,
        seed=1,
        game=GameSettings(root=game.root),
    )
    interval = sys.getswitchinterval()
    with WireServer() as server:
        server.greeting = [as_update(following_policy(task_signature(TaskConfig()), 1), 1)]
        with assembled_drive(server.pairing, settings, threading.Event()) as drive:
            watched = drive.driver = Watched(drive.driver)
            try:
                assert drive.run() == ExitCode.OK
            finally:
                sys.setswitchinterval(interval)
    assert watched.calls > 1000
    # A start looks into the session's page, which is memory by another name; it is no step.
    assert watched.seen <= {"posix.open"}

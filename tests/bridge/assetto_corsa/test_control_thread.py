"""What the control thread does while it drives, call by call: nothing with disk, network, terminal or compressor."""

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bridge.assetto_corsa.session import GameSettings
from bridge.driving.drive import Drive, Driver
from bridge.driving.garage import Settings, assembled_drive
from experience import environment
from racing.driving import Step
from racing.task import TaskConfig
from runtime.exit_codes import ExitCode
from tests.support.fake_game import FakeGame
from tests.support.policies import as_update, following_policy
from tests.support.wire_server import WireServer

FORBIDDEN_FILES = (
    "/sqlite3/",
    "/websockets/",
    "/zstandard/",
    "/asyncio/",
    "/rich/",
    "/bridge/spool.py",
    "/experience/codec.py",
)
FORBIDDEN_MODULES = ("_socket", "_ssl", "_sqlite3", "sqlite3", "zstandard", "zlib", "select")
FORBIDDEN_NAMES = ("open", "fsync", "unlink", "replace", "rename")


class Watched:
    """A driver that pauses the game once; the loop around it is watched: `seen` holds the calls out of place in it."""

    def __init__(self, driver: Driver, game: FakeGame) -> None:
        self._driver, self._game = driver, game
        self.seen: set[str] = set()
        self.over, self.calls = False, 0
        self._steps = self._waits = 0

    @property
    def version(self) -> int:
        return self._driver.version

    def waits_for(self) -> str | None:
        why = self._driver.waits_for()
        self._waits += why is not None
        if self._waits == 20:
            with self._unwatched():
                self._game.live()
        return why

    def finish(self) -> None:
        self._driver.finish()

    def step(self) -> Step | None:
        self._steps += 1
        if self._steps == 50:
            with self._unwatched():
                self._game.tell("mode", mode="pause")
        return self._driver.step()

    @contextmanager
    def watched(self) -> Iterator[None]:
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        sys.setprofile(None)
        try:
            yield
        finally:
            sys.setprofile(self._look)

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
            if name in ("write", "flush") and isinstance(argument.__self__, io.TextIOBase | io.BufferedIOBase):
                self.seen.add(f"{type(argument.__self__).__name__}.{name}")


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
        running.live()
        yield running


@pytest.mark.slow
def test_the_loop_touches_no_disk_no_network_no_terminal_and_no_compressor(
    game: FakeGame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    drive_on = Drive._drive

    def watched_drive(drive: Drive) -> None:
        assert isinstance(drive.driver, Watched)
        with drive.driver.watched():
            drive_on(drive)

    monkeypatch.setattr(Drive, "_drive", watched_drive)
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(log)])
        watched = driven_and_watched(game, tmp_path)
    assert watched.calls > 1000
    # A start looks into the session's page, which is memory by another name; it is no step.
    assert watched.seen <= {"posix.open"}
    text = (tmp_path / "log").read_text()
    assert "waiting for the game. The game is paused" in text
    assert "driving" in text.splitlines()


def driven_and_watched(game: FakeGame, tmp_path: Path) -> Watched:
    """What was seen in a drive of a hundred steps with a pause in it."""
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
        server.greeting = [as_update(following_policy(environment.racing(TaskConfig()).signature, 1), 1)]
        with assembled_drive(server.pairing, settings, threading.Event()) as drive:
            watched = drive.driver = Watched(drive.driver, game)
            try:
                assert drive.run() == ExitCode.OK
            finally:
                sys.setswitchinterval(interval)
    return watched

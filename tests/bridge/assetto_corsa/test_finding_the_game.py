"""What runs, what only lies in shared memory, and what is said while a game is waited for."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.assetto_corsa import session
from bridge.assetto_corsa.memory import GameError, GameNotRunning, PageUnusable
from bridge.assetto_corsa.pages import GamePages
from bridge.assetto_corsa.session import GameSettings, Stopped, game_runs, opened_session
from tests.support.fake_game import FakeGame
from tests.support.game_pages import GRAPHICS, LIVE, OFF, PAUSE, PHYSICS, STATIC, WrittenGame
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AC_SHM_DIR", str(tmp_path))
    return tmp_path


class Going:
    """Counts packets of one page on, in a thread, while it is entered."""

    def __init__(self, game: WrittenGame, page: str) -> None:
        self._game, self._page = game, page
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        packet = 100
        while not self._ended.wait(0.01):
            packet += 1
            self._game.put(self._page, 0, "i", packet)


def test_without_pages_no_game_runs(caplog: pytest.LogCaptureFixture) -> None:
    assert not game_runs()
    assert not caplog.records


@pytest.mark.parametrize("status", [OFF, PAUSE, LIVE])
def test_pages_that_nobody_writes_are_no_game_and_it_is_said(
    folder: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    WrittenGame(folder).show(status)
    assert not game_runs()
    assert "nothing writes it" in caplog.text
    assert "--car assetto-corsa" in caplog.text


@pytest.mark.parametrize(("page", "status"), [(PHYSICS, LIVE), (GRAPHICS, PAUSE), (GRAPHICS, OFF)])
def test_a_game_whose_packets_come_runs_whatever_it_shows(folder: Path, page: str, status: int) -> None:
    game = WrittenGame(folder)
    game.show(status)
    with Going(game, page):
        assert game_runs()


def test_a_page_that_may_not_be_read_is_no_game_and_it_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / PHYSICS).write_bytes(b"")
    assert not game_runs()
    assert "not taken to run" in caplog.text


@contextmanager
def waiting(wait: bool, caplog: pytest.LogCaptureFixture) -> Iterator[list[BaseException | None]]:
    """A thread that waits for the game; how it has ended, once it has, None for well."""
    caplog.set_level(logging.INFO)
    stop, ended = threading.Event(), list[BaseException | None]()

    def wait_for_it() -> None:
        with GamePages() as pages:
            try:
                session._await_live(pages, wait, stop)
            except (GameError, Stopped) as error:
                ended.append(error)
            else:
                ended.append(None)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


def test_a_game_that_died_in_its_pause_is_told_from_one_that_pauses(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    game = WrittenGame(folder)
    game.show(PAUSE)
    with waiting(False, caplog) as ended:
        with Going(game, GRAPHICS):
            wait_until(lambda: "waiting for the game, which shows its pause" in caplog.text, "the pause to be told")
            assert "start it again" not in caplog.text
        wait_until(lambda: "it writes nothing, so it hangs, or is gone" in caplog.text, "the end to be told")
        game.show(LIVE)
        with Going(game, PHYSICS):
            wait_until(lambda: ended == [None], "the game that came back")


def test_whoever_waits_waits_also_for_a_game_whose_memory_is_being_made(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / PHYSICS).write_bytes(b"")
    with waiting(True, caplog) as ended:
        wait_until(lambda: "waiting for the game. The shared memory acpmf_physics has 0 bytes" in caplog.text, "a line")
        game = WrittenGame(folder)
        with Going(game, PHYSICS):
            wait_until(lambda: ended == [None], "the game")


def test_whoever_does_not_wait_is_told_at_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with waiting(False, caplog) as ended:
        wait_until(lambda: bool(ended), "the end")
    assert isinstance(ended[0], GameNotRunning)
    assert "--wait" in str(ended[0])
    (folder / PHYSICS).write_bytes(b"")
    with waiting(False, caplog) as ended:
        wait_until(lambda: bool(ended), "the end")
    assert isinstance(ended[0], PageUnusable)


def test_another_car_in_a_new_session_is_another_drive(folder: Path) -> None:
    with FakeGame(folder) as game, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        opened = opened_session(GameSettings(root=game.root), threading.Event())
        try:
            opened.check()
            with (game.shm / STATIC).open("r+b") as page:
                page.seek(68)
                page.write("abarth500\0".encode("utf-16-le"))
            with pytest.raises(GameError, match=r"another car now \(abarth500\) than at the start \(ks_fake_gt3\)"):
                opened.check()
        finally:
            opened.car.close()

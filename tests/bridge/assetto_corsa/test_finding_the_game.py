"""What runs, what only lies in shared memory, and what is said while a game is waited for."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from bridge.assetto_corsa import session
from bridge.assetto_corsa.reading.memory import GameError, GameNotRunning, PageUnusable
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.session import GameSettings, GameUnclear, Stopped, game_runs, opened_session
from bridge.commands.game_options import CarKind, chosen_car
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


def test_without_pages_no_game_runs() -> None:
    assert not game_runs()
    assert chosen_car(CarKind.AUTO, None, None, wait=False) is CarKind.SIMULATED


def test_whoever_waits_for_the_game_drives_no_other_car() -> None:
    assert chosen_car(CarKind.AUTO, None, None, wait=True) is CarKind.ASSETTO_CORSA
    for car, track, cars in ((CarKind.SIMULATED, None, None), (CarKind.AUTO, "seed:3", None), (CarKind.AUTO, None, 4)):
        with pytest.raises(typer.Exit):
            chosen_car(car, track, cars, wait=True)


@pytest.mark.parametrize("status", [OFF, PAUSE, LIVE])
def test_pages_that_nobody_writes_are_no_reason_to_drive_a_simulated_car_into_the_run(
    folder: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    WrittenGame(folder).show(status)
    with pytest.raises(typer.Exit):
        chosen_car(CarKind.AUTO, None, None, wait=False)
    said = capsys.readouterr().err
    assert "nothing writes it" in said
    assert "--car assetto-corsa" in said
    assert chosen_car(CarKind.AUTO, "seed:3", None, wait=False) is CarKind.SIMULATED


@pytest.mark.parametrize(("page", "status"), [(PHYSICS, LIVE), (GRAPHICS, PAUSE), (GRAPHICS, OFF)])
def test_a_game_whose_packets_come_runs_whatever_it_shows(folder: Path, page: str, status: int) -> None:
    game = WrittenGame(folder)
    game.show(status)
    with Going(game, page):
        assert game_runs()


def test_a_page_that_cannot_be_read_is_not_taken_for_no_game(folder: Path) -> None:
    (folder / PHYSICS).write_bytes(b"")
    with pytest.raises(GameUnclear, match="acpmf_physics"):
        game_runs()


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


@pytest.mark.slow
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

"""The whole session on the fake game: how its controls are taken, and that a start ends when it must."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.controls.controls import NoBackend
from bridge.assetto_corsa.session import BackendKind, GameSettings, Stopped, opened_session
from tests.fake_ac.inputs import CONTROLS_NAME, user_settings
from tests.support.fake_game import FakeGame
from tests.support.waiting import wait_until


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGame]:
    with FakeGame(tmp_path) as running:
        monkeypatch.setenv("AC_SHM_DIR", str(running.shm))
        running.live()
        yield running


def test_a_start_ends_when_the_games_window_is_lost(game: FakeGame, monkeypatch: pytest.MonkeyPatch) -> None:
    front: list[bool | None] = [True]
    monkeypatch.setattr("bridge.assetto_corsa.session.front_watch", lambda: lambda: front[0])
    session = opened_session(GameSettings(root=game.root), threading.Event(), seed=1)
    front[0] = False

    with pytest.raises(NotDriving, match="window is not in front"):
        session.car.reset(np.ones(1, bool))

    assert game.truth()["wish"]["gas"] == 0.0
    session.car.close()


def test_a_start_goes_on_where_the_window_does_not_matter(game: FakeGame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.assetto_corsa.session.front_watch", lambda: lambda: False)
    session = opened_session(GameSettings(root=game.root, need_window=False), threading.Event(), seed=1)

    session.car.reset(np.ones(1, bool))

    session.car.close()


@pytest.mark.slow
def test_csp_that_is_ready_late_is_asked_with_new_pages_and_what_is_waited_for_is_said(
    game: FakeGame, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    game.tell("custom_ai", ready=False)

    def late() -> None:
        wait_until(lambda: "waiting for CSP to take the car over" in caplog.text, "what is waited for to be said", 60.0)
        # The page of the next question is made too early, too.
        wait_until((game.shm / CONTROLS_NAME).exists, "another page", 60.0)
        game.tell("custom_ai", ready=True)

    with ThreadPoolExecutor(1) as aside:
        told = aside.submit(late)
        session = opened_session(GameSettings(root=game.root, wait=True), threading.Event(), seed=1)
        told.result()

    assert game.truth()["custom_ai"]
    assert "Try in this order" in caplog.text
    session.car.close()


@pytest.mark.slow
def test_a_car_that_csp_lets_go_of_in_a_new_session_is_taken_again_with_a_new_page(game: FakeGame) -> None:
    session = opened_session(GameSettings(root=game.root), threading.Event(), seed=1)
    wait_until(lambda: session.car.why_not() is None, "a car to drive")
    first = (game.shm / CONTROLS_NAME).stat()
    # The new session's CSP is ready later than the game, and never looks at the page that was there before.
    game.tell("custom_ai", ready=False)
    game.tell("restart", into="live")
    wait_until(lambda: "has let go of the car" in (session.car.why_not() or ""), "the loss to be noticed")
    wait_until(lambda: not (game.shm / CONTROLS_NAME).exists() or session.car.why_not() is None, "it to be asked", 60.0)
    game.tell("custom_ai", ready=True)

    wait_until(lambda: session.car.why_not() is None, "the car to be taken", 60.0)

    session.car.reset(np.ones(1, bool))
    assert game.truth()["custom_ai"]
    assert (game.shm / CONTROLS_NAME).stat().st_ctime_ns > first.st_ctime_ns
    session.car.close()


@pytest.mark.slow
def test_no_pad_that_nobody_bound_is_taken_where_custom_ai_is_switched_on(
    game: FakeGame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.assetto_corsa.session.CSP_SECONDS", 0.0)
    game.tell("custom_ai", allowed=False)

    with pytest.raises(NoBackend, match=r"csp: .*permission may be needed.*--backend gamepad") as switched_on:
        opened_session(GameSettings(root=game.root), threading.Event())
    settings = game.root / "extension" / "config" / "new_behaviour.ini"
    settings.write_text("[CUSTOM_AI]\nENABLED=0\n", encoding="utf-8")
    with pytest.raises(NoBackend) as switched_off:
        opened_session(GameSettings(root=game.root), threading.Event())

    assert "gamepad: " not in str(switched_on.value)
    assert "gamepad: " in str(switched_off.value)
    assert not (game.shm / CONTROLS_NAME).exists()


@pytest.mark.slow
def test_custom_ai_that_only_the_users_own_settings_switch_on_is_what_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "steamapps" / "common"
    own = user_settings(library / "assettocorsa") / "new_behaviour.ini"
    own.parent.mkdir(parents=True)
    own.write_text("[CUSTOM_AI]\nENABLED=1\n", encoding="utf-8")
    with FakeGame(library) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        shipped = game.root / "extension" / "config" / "new_behaviour.ini"
        shipped.write_text("[CUSTOM_AI]\nENABLED=0\n", encoding="utf-8")
        game.live()
        game.tell("custom_ai", allowed=False)
        monkeypatch.setattr("bridge.assetto_corsa.session.CSP_SECONDS", 0.0)
        with pytest.raises(NoBackend, match="One of these") as none:
            opened_session(GameSettings(root=game.root), threading.Event())
        assert "gamepad: " not in str(none.value)


@pytest.mark.slow
def test_whoever_waits_for_csp_can_be_stopped(game: FakeGame, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stop = threading.Event()
    game.tell("custom_ai", allowed=False)

    def stop_it() -> None:
        wait_until(lambda: "waiting for CSP" in caplog.text, "it to wait", 60.0)
        stop.set()

    with ThreadPoolExecutor(1) as aside:
        told = aside.submit(stop_it)
        with pytest.raises(Stopped):
            opened_session(GameSettings(root=game.root, backend=BackendKind.CSP, wait=True), stop)
        told.result()

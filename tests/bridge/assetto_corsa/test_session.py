"""The whole session on the fake game: a start ends when it must, by whatever is asked while it takes its time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.session import GameSettings, opened_session
from tests.support.fake_game import FakeGame


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

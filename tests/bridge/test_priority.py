"""The thread that drives is let run in time, whichever command drives."""

import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.assetto_corsa.session import GameSettings, opened_session
from bridge.play import Wanted, play_game
from racing.policy import Policy
from racing.task import Task, TaskConfig, task_signature
from tests.support.fake_game import FakeGame
from tests.support.policies import following_policy


@pytest.fixture
def former_interpreter() -> Iterator[None]:
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)
    gc.unfreeze()


@pytest.mark.usefixtures("former_interpreter")
def test_a_policy_that_plays_the_game_has_the_interpreter_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, stop = task_signature(TaskConfig()), threading.Event()
    policy = Policy.from_bytes(following_policy(signature, 1), signature)
    with FakeGame(tmp_path) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        session = opened_session(GameSettings(root=game.root), stop, seed=1)
        stop.set()
        play_game(session, Task(session.track, TaskConfig()), policy, Wanted(None, print), stop)
        session.car.close()

    assert sys.getswitchinterval() == pytest.approx(0.001)
    assert gc.get_freeze_count() > 0

"""The thread that drives is let run in time, whichever command drives, and only while it drives."""

import gc
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.assetto_corsa.session import GameSettings, opened_session
from bridge.driving.play import play_game
from experience import environment
from racing.policy import Policy
from racing.task import Task, TaskConfig
from runtime.priority import control_thread
from tests.support.fake_game import FakeGame
from tests.support.policies import following_policy


def setting() -> tuple[float, int, int]:
    """What a driving thread changes: the switch interval, the frozen objects, how it is scheduled."""
    return sys.getswitchinterval(), gc.get_freeze_count(), os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


@pytest.mark.slow
def test_a_policy_that_plays_the_game_has_the_interpreter_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, stop = environment.racing(TaskConfig()).signature, threading.Event()
    policy = Policy.from_bytes(following_policy(signature, 1), signature)
    with FakeGame(tmp_path) as game:
        monkeypatch.setenv("AC_SHM_DIR", str(game.shm))
        game.live()
        before, within = setting(), []
        session = opened_session(GameSettings(root=game.root), stop, seed=1)

        def look() -> None:
            within.append(setting())
            stop.set()

        watched = replace(session, check=look)
        play_game(watched, Task(session.track, TaskConfig()), policy, None, print, stop)
        session.car.close()

    interval, frozen, _ = within[0]
    assert interval == pytest.approx(0.001)
    assert frozen > 0
    assert setting() == before


@pytest.mark.skipif(sys.platform != "linux", reason="real-time scheduling is asked for on Linux")
def test_who_may_go_first_does_and_what_it_starts_does_not() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pytest.skip("needs the right to real-time scheduling")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    seen = []
    with control_thread(real_time=True):
        seen.append(setting()[2])
        child = threading.Thread(target=lambda: seen.append(setting()[2]))
        child.start()
        child.join()
    with control_thread(real_time=False):
        seen.append(setting()[2])
    assert seen == [os.SCHED_FIFO, os.SCHED_OTHER, os.SCHED_OTHER]
    assert setting()[2] == os.SCHED_OTHER

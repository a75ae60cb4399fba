"""`serve-env` whose environments are in processes of their own, as a trainer sees them; none outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.ended import has_ended
from tests.support.pictures_env import HANGS, NAME
from tests.support.receivers import ThreadedReceiver
from tests.support.remote_pc import receiver_here
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from wire.pairing import format_pairing

ROOT = Path(__file__).parents[3]
COUNT = 3
STEP = np.zeros(COUNT, np.int64)


@pytest.fixture
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ThreadedReceiver, Path]]:
    with receiver_here(tmp_path_factory.mktemp("r")) as both:
        yield both


@contextmanager
def serve_env(receiver: ThreadedReceiver, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A `serve-env` in a group of its own, as in a terminal of its own."""
    command = [sys.executable, "-m", "bridge", "serve-env", "--num-envs", "8", *arguments]
    environment = os.environ | {"AC_BRIDGE_URI": format_pairing(receiver.pairing)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def begun(calls: Path, **more: object) -> tuple[RemoteVectorEnv, set[int]]:
    """A vector, and the processes that step it."""
    envs = RemoteVectorEnv(calls, NAME, COUNT, step_seconds=60.0, kwargs={"pids": True, **more})
    pids = set(envs.reset(seed=1)[1]["pid"].tolist())
    assert len(pids) == 2
    return envs, pids


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_that_is_killed_is_an_error_from_which_a_reset_recovers(
    receiver: tuple[ThreadedReceiver, Path],
) -> None:
    with serve_env(receiver[0], "--env", NAME, "--processes", "2"):
        envs, pids = begun(receiver[1])
        other, _ = begun(receiver[1])
        os.kill(min(pids), signal.SIGKILL)
        with pytest.raises(RemoteEnvError, match="exit code -9") as raised:
            envs.step(STEP)
        assert raised.value.is_recoverable
        assert not pids & set(envs.reset(seed=1)[1]["pid"].tolist())
        assert envs.step(STEP)[4]["lived"].tolist() == [1] * COUNT
        assert other.step(STEP)[4]["lived"].tolist() == [1] * COUNT
        envs.close()
        other.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ends", ["SIGTERM", "Ctrl-C"])
def test_who_ends_it_closes_its_environments_and_leaves_no_process(
    receiver: tuple[ThreadedReceiver, Path], ends: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with serve_env(receiver[0], "--env", NAME, "--processes", "2") as pc:
        envs, pids = begun(receiver[1], mark=str(mark))
        envs.step(STEP)
        if ends == "SIGTERM":
            pc.terminate()
        else:
            os.killpg(pc.pid, signal.SIGINT)
        assert pc.wait(120.0) == 0
        assert all(map(has_ended, pids))
        assert mark.read_text() == "closed\n" * COUNT


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hangs", [False, True])
def test_if_it_is_killed_its_processes_end(
    receiver: tuple[ThreadedReceiver, Path], hangs: bool, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    with serve_env(receiver[0], "--env", NAME, "--processes", "2") as pc:
        envs, pids = begun(receiver[1], mark=str(mark))
        if hangs:
            envs.step_async(np.full(COUNT, HANGS))
            wait_until(mark.exists, "an environment that hangs")
        pc.kill()
        pc.wait()
        wait_until(lambda: all(map(has_ended, pids)), "the end of the processes")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_pc_may_serve_in_two_processes_at_the_same_time(receiver: tuple[ThreadedReceiver, Path]) -> None:
    with serve_env(receiver[0], "--env", "CartPole-v1") as first, serve_env(receiver[0], "--env", "Pendulum-v1"):
        one, other = RemoteEnv(receiver[1], "CartPole-v1"), RemoteEnv(receiver[1], "Pendulum-v1")
        one.reset(seed=1), other.reset(seed=1)
        one.step(0), other.step(np.zeros(1, np.float32))
        first.terminate()
        first.wait()
        other.step(np.zeros(1, np.float32))
        other.close()

"""A bridge process that stands still, or a link that leads nowhere, is noticed in seconds; no step is done twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import ThreadedReceiver
from tests.support.remote_pc import receiver_here
from tests.support.waiting import PATIENCE, wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from wire.pairing import Pairing, format_pairing

pytestmark = pytest.mark.slow

NAME = "tests.support.counting_env:Counting"
NOTICED_SECONDS = 5.0


@contextmanager
def bridge_process(pairing: Pairing, log: Path, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """`ac-bridge serve-env`, killed at the block's end if it still runs then."""
    arguments = [argument for name in names for argument in ("--env", name)]
    environment = os.environ | {"AC_BRIDGE_URI": format_pairing(pairing)}
    with log.open("wb") as errors:
        command = [sys.executable, "-m", "bridge", "serve-env", "--num-envs", "4", *arguments]
        process = subprocess.Popen(command, env=environment, stderr=errors)
    try:
        yield process
    finally:
        process.kill()
        process.wait(120)


@pytest.fixture
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ThreadedReceiver, Path]]:
    with receiver_here(tmp_path_factory.mktemp("r")) as running:
        yield running


def test_a_stopped_bridge_is_let_go_within_seconds_and_goes_on_where_it_stood(
    receiver: tuple[ThreadedReceiver, Path], tmp_path: Path
) -> None:
    running, calls = receiver
    with (
        FaultProxy(("127.0.0.1", running.port)) as proxy,
        bridge_process(replace(running.pairing, port=proxy.port), tmp_path / "log", NAME) as process,
    ):
        env = RemoteEnv(calls, NAME, step_seconds=300.0)
        env.reset()
        assert env.step(0)[0].tolist() == [1.0]
        process.send_signal(signal.SIGSTOP)
        answers: list[float] = []
        step = threading.Thread(target=lambda: answers.append(env.step(0)[0].item()))
        step.start()
        try:
            # The proxy's connection ends when the receiver, which alone can, has hung up.
            took = wait_until(lambda: proxy.open_connections == 0, "the stopped bridge is noticed", 15.0)
        finally:
            process.send_signal(signal.SIGCONT)
            step.join(300.0)
        assert answers == [2.0], "the same process goes on in mid-episode, and the step is done once"
        assert env.step(0)[0].tolist() == [3.0]
        # On a busy machine everything takes longer; all other silences of the link are longer still.
        assert took < 2.0 * NOTICED_SECONDS
        env.close()


def test_a_pc_that_stays_stopped_is_an_error_to_recover_from(
    receiver: tuple[ThreadedReceiver, Path], tmp_path: Path
) -> None:
    running, calls = receiver
    with bridge_process(running.pairing, tmp_path / "log", NAME) as process:
        env = RemoteEnv(calls, NAME, step_seconds=300.0)
        env.reset()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(RemoteEnvError, match="has been gone for") as raised:
            env.step(0)
        assert raised.value.is_recoverable
        with bridge_process(running.pairing, tmp_path / "other log", NAME):
            # Whoever comes instead begins anew.
            assert env.reset()[0].tolist() == [0.0]
            assert env.step(0)[0].tolist() == [1.0]
            env.close()


def test_a_link_that_leads_nowhere_is_left_within_seconds(
    receiver: tuple[ThreadedReceiver, Path], tmp_path: Path
) -> None:
    running, calls = receiver
    with (
        FaultProxy(("127.0.0.1", running.port)) as proxy,
        bridge_process(replace(running.pairing, port=proxy.port), tmp_path / "log", NAME),
    ):
        env = RemoteEnv(calls, NAME, step_seconds=300.0)
        env.reset()
        # The connection stays mute for ever, as one that a router has forgotten; new ones work.
        proxy.black_hole()
        proxy.resume()
        began = time.monotonic()
        assert env.step(0)[0].tolist() == [1.0]
        assert time.monotonic() - began < PATIENCE * NOTICED_SECONDS
        assert proxy.accepted == 2
        assert env.step(0)[0].tolist() == [2.0]
        env.close()

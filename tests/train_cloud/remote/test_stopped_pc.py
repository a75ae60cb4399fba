"""A bridge process that stands still, or a link that leads nowhere, is noticed in seconds; no step is done twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.frozen import freeze
from tests.support.receivers import ThreadedReceiver
from tests.support.remote_pc import receiver_here
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from wire.messages import EnvErrorCode
from wire.pairing import Pairing, format_pairing

pytestmark = pytest.mark.slow

NAME = "tests.support.counting_env:Counting"
NOTICED_SECONDS = 5.0
GONE_SECONDS = 10.0
"""A PC that stays away for so long is gone; both are promised in docs/remote-gym.md."""


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
        steps = 0

        def noticed_after() -> float:
            nonlocal steps
            assert env.step(0)[0].tolist() == [steps + 1]
            freeze(process.pid)
            answers: list[float] = []
            step = threading.Thread(target=lambda: answers.append(env.step(0)[0].item()))
            step.start()
            try:
                # The proxy's connection ends when the receiver, which alone can, has hung up.
                took = wait_until(lambda: proxy.open_connections == 0, "the stopped bridge is noticed", 15.0)
            finally:
                process.send_signal(signal.SIGCONT)
                step.join(300.0)
            assert answers == [steps + 2], "the same process goes on in mid-episode, and the step is done once"
            steps += 2
            return took

        assert at_best(noticed_after) <= NOTICED_SECONDS
        assert env.step(0)[0].tolist() == [steps + 1]
        env.close()


def at_best(measured: Callable[[], float]) -> float:
    """The shortest of up to three times: on a busy machine everything takes longer than it must."""
    times = [measured()]
    while min(times) > NOTICED_SECONDS and len(times) < 3:
        times.append(measured())
    return min(times)


def test_a_pc_that_stays_stopped_is_an_error_to_recover_from(
    receiver: tuple[ThreadedReceiver, Path], tmp_path: Path
) -> None:
    running, calls = receiver
    with bridge_process(running.pairing, tmp_path / "log", NAME) as process:
        env = RemoteEnv(calls, NAME, step_seconds=300.0)
        env.reset()
        freeze(process.pid)
        began = time.monotonic()
        with pytest.raises(RemoteEnvError, match="has been gone for 10 s") as raised:
            env.step(0)
        assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.NO_BRIDGE, True)
        assert GONE_SECONDS <= time.monotonic() - began < 2.0 * (NOTICED_SECONDS + GONE_SECONDS)
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
        steps = 0

        def left_after() -> float:
            nonlocal steps
            accepted = proxy.accepted
            # The connection stays mute for ever, as one that a router has forgotten; new ones work.
            proxy.black_hole()
            proxy.resume()
            began = time.monotonic()
            assert env.step(0)[0].tolist() == [steps + 1]
            took = time.monotonic() - began
            assert proxy.accepted == accepted + 1
            assert env.step(0)[0].tolist() == [steps + 2]
            steps += 2
            return took

        assert at_best(left_after) <= NOTICED_SECONDS
        env.close()

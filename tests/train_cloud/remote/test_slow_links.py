"""Messages that take longer than a silence may last are no silence, either way; a link that takes nothing is one."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import ThreadedReceiver
from tests.support.remote_pc import ServedHere, receiver_here
from tests.support.waiting import PATIENCE, wait_until
from train_cloud.remote.env import RemoteEnv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LARGE = f"{__name__}:Large"
SIZE = 4_000_000
RATE = 800_000
"""Bytes a second: a large message takes longer than a silence may last."""
SMALL = np.zeros(SIZE // 1000, np.uint8)
GREAT = np.append(np.uint8(0), np.random.default_rng(0).integers(0, 255, SIZE - 1, np.uint8))
"""Nothing that compression makes smaller."""


class Large(gymnasium.Env[Any, Any]):
    """Observes nearly all that travels where its action begins with 1, which may be as large."""

    observation_space = action_space = spaces.Box(0, 255, (1,), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return SMALL, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return GREAT if action[0] else SMALL, float(len(action)), False, False, {}


def waiting_bytes(pc: ServedHere) -> int:
    """What the PC has not sent yet."""
    connection = pc.serving._connection
    return 0 if connection is None else connection.transport.get_write_buffer_size()


@pytest.fixture
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ThreadedReceiver, Path]]:
    with receiver_here(tmp_path_factory.mktemp("r")) as running:
        yield running


def test_a_message_that_takes_long_comes_over_one_connection(receiver: tuple[ThreadedReceiver, Path]) -> None:
    running, calls = receiver
    with FaultProxy(("127.0.0.1", running.port)) as proxy:
        pc = ServedHere(replace(running.pairing, port=proxy.port), [LARGE], 1)
        env = RemoteEnv(calls, LARGE, outside="pass", step_seconds=200.0)
        env.reset()
        proxy.rate = RATE
        assert len(env.step(SMALL + 1)[0]) == SIZE
        assert env.step(GREAT)[1] == SIZE
        assert proxy.accepted == 1
        env.close()
        pc.end()


def test_a_link_that_takes_nothing_is_left_within_seconds(
    receiver: tuple[ThreadedReceiver, Path], caplog: pytest.LogCaptureFixture
) -> None:
    running, calls = receiver
    with FaultProxy(("127.0.0.1", running.port)) as proxy, caplog.at_level(logging.WARNING, "bridge"):
        pc = ServedHere(replace(running.pairing, port=proxy.port), [LARGE], 4)
        envs = [RemoteEnv(calls, LARGE, outside="pass", step_seconds=200.0) for _ in range(4)]
        for env in envs:
            env.reset()
        seen: list[int] = []
        proxy.rate = RATE / 10
        steps = [threading.Thread(target=lambda env=env: seen.append(len(env.step(SMALL + 1)[0]))) for env in envs]
        for step in steps:
            step.start()
        wait_until(lambda: waiting_bytes(pc) > SIZE, "an answer waits in the PC's memory")
        with proxy.standstill():
            took = wait_until(lambda: "the link is down" in caplog.text, "the PC notices", 60.0)
        assert took < PATIENCE * 5.0
        proxy.rate = float("inf")
        for step in steps:
            step.join(200)
        assert seen == [SIZE] * 4
        for env in envs:
            env.close()
        pc.end()

"""What one step costs on the link, and what each answer says of the time that it took."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.support.frame_counter import CountingProxy
from tests.support.remote_pc import ServedHere, receiver_here
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv

SLOW = f"{__name__}:Slow"
STEP_SECONDS, LATENCY = 0.05, 0.03


class Slow(gymnasium.Env[Any, Any]):
    """A step takes 50 ms."""

    observation_space = spaces.Box(0, 255, (32, 32), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return np.zeros((32, 32), np.uint8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(STEP_SECONDS)
        return np.full((32, 32), action, np.uint8), 1.0, False, False, {}


@pytest.fixture
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, CountingProxy]]:
    with (
        receiver_here(tmp_path_factory.mktemp("r")) as (receiver, calls),
        CountingProxy(("127.0.0.1", receiver.port)) as proxy,
    ):
        pc = ServedHere(replace(receiver.pairing, port=proxy.port), [SLOW], 8)
        try:
            yield calls, proxy
        finally:
            pc.end()


def test_a_step_of_a_vector_is_one_message_each_way(link: tuple[Path, CountingProxy]) -> None:
    calls, proxy = link
    envs = RemoteVectorEnv(calls, SLOW, 4)
    envs.reset()
    before = proxy.passed.copy()
    for _ in range(5):
        envs.step(np.ones(4, np.int64))
    assert proxy.passed["env_call"] - before["env_call"] == 5
    assert proxy.passed["env_result"] - before["env_result"] == 5
    envs.close()


def test_each_answer_says_what_was_spent_in_the_environment(link: tuple[Path, CountingProxy]) -> None:
    calls, proxy = link
    env, envs = RemoteEnv(calls, SLOW), RemoteVectorEnv(calls, SLOW, 3)
    proxy.latency = LATENCY
    for one, count in ((env, 1), (envs, 3)):
        one.reset()
        began = time.monotonic()
        one.step(0 if count == 1 else np.zeros(3, np.int64))
        whole = time.monotonic() - began
        inside, overhead = one.call_seconds
        assert inside >= count * STEP_SECONDS
        assert overhead >= 2 * LATENCY
        assert inside + overhead <= whole
        one.close()

"""What is outside its declared space, NaN included, is passed on as it is, said, or refused, as its maker asks."""

import logging
from collections.abc import Iterator
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.experience.test_values import same
from tests.support.remote_pc import RemotePc, remote_pc
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from wire.messages import EnvErrorCode

STRAY = f"{__name__}:Stray"
OUTSIDE = {
    "NaN": np.array([np.nan, 0.0], np.float32),
    "too large": np.array([7.0, np.inf], np.float32),
    "another dtype": np.array([0.5, 0.5], np.float64),
    "another shape": np.array([0.5], np.float32),
    "a text": "left",
}
HANDED_OUT: list[Any] = []
TAKEN: list[Any] = []


class Stray(gymnasium.Env[Any, Any]):
    """Observes what the test puts into HANDED_OUT, within its space when there is nothing."""

    observation_space = action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        TAKEN.append(action)
        return HANDED_OUT.pop() if HANDED_OUT else np.zeros(2, np.float32), 0.0, False, False, {}


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([STRAY], tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    HANDED_OUT.clear()
    TAKEN.clear()


INSIDE = np.zeros(2, np.float32)


@pytest.mark.parametrize("outside", ["warn", "pass"])
@pytest.mark.parametrize("value", OUTSIDE.values(), ids=OUTSIDE)
def test_it_is_passed_on_as_it_is_and_said_once(
    pc: RemotePc, value: Any, outside: Literal["warn", "pass"], caplog: pytest.LogCaptureFixture
) -> None:
    env = RemoteEnv(pc.calls, STRAY, outside=outside)
    env.reset()
    with caplog.at_level(logging.WARNING, "bridge.serve_env"):
        for _ in range(3):
            HANDED_OUT.append(value)
            assert same(env.step(value)[0], value)
    assert all(same(taken, value) for taken in TAKEN)
    warnings = [one for one in caplog.records if one.name.startswith("bridge") and one.levelno >= logging.WARNING]
    said = [record.getMessage().split(" of ")[0] for record in warnings]
    assert said == (["an action", "an observation"] if outside == "warn" else [])
    env.close()


@pytest.mark.parametrize("value", OUTSIDE.values(), ids=OUTSIDE)
def test_it_is_refused_and_an_action_is_not_done(pc: RemotePc, value: Any) -> None:
    env = RemoteEnv(pc.calls, STRAY, outside="refuse")
    env.reset()
    with pytest.raises(RemoteEnvError, match=r"An action of .* is not of its declared space") as raised:
        env.step(value)
    assert raised.value.code == EnvErrorCode.OUTSIDE_SPACE
    assert TAKEN == []
    HANDED_OUT.append(value)
    with pytest.raises(RemoteEnvError, match=r"An observation of .* is not of its declared space"):
        env.step(INSIDE)
    assert same(env.step(INSIDE)[0], INSIDE)
    env.close()


def test_nan_in_a_vector_is_passed_on(pc: RemotePc) -> None:
    envs = RemoteVectorEnv(pc.calls, STRAY, 2)
    envs.reset()
    HANDED_OUT.append(OUTSIDE["NaN"])
    seen = envs.step(np.zeros((2, 2), np.float32))[0]
    assert np.isnan(seen).tolist() == [[True, False], [False, False]]
    envs.close()

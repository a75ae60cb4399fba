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
}
MISSHAPEN = {
    "another shape": np.array([0.5], np.float32),
    "another axis": np.zeros((1, 2), np.float32),
    "a text": "left",
    "nothing": None,
}
HANDED_OUT: list[Any] = []
TAKEN: list[Any] = []


class Stray(gymnasium.Env[Any, Any]):
    """Observes what the test puts into HANDED_OUT, within its space when there is nothing."""

    observation_space = action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, nested: bool = False) -> None:
        if nested:
            row: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (2,), np.float32)
            self.observation_space = spaces.Dict(deep=spaces.Tuple([spaces.Discrete(2), row]))  # type: ignore[assignment]  # another one

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return self._inside(), {}

    def _inside(self) -> Any:
        row = np.zeros(2, np.float32)
        return row if isinstance(self.observation_space, spaces.Box) else {"deep": (np.int64(0), row)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        TAKEN.append(action)
        return HANDED_OUT.pop() if HANDED_OUT else self._inside(), 0.0, False, False, {}


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


@pytest.mark.parametrize("value", MISSHAPEN.values(), ids=MISSHAPEN)
def test_another_shape_is_passed_on_only_where_everything_is(pc: RemotePc, value: Any) -> None:
    env = RemoteEnv(pc.calls, STRAY, outside="pass")
    env.reset()
    HANDED_OUT.append(value)
    assert same(env.step(value)[0], value)
    env.close()
    refused(pc, value, "warn")


@pytest.mark.parametrize("value", (OUTSIDE | MISSHAPEN).values(), ids=OUTSIDE | MISSHAPEN)
def test_it_is_refused_and_an_action_is_not_done(pc: RemotePc, value: Any) -> None:
    refused(pc, value, "refuse")


def refused(pc: RemotePc, value: Any, outside: Literal["warn", "refuse"]) -> None:
    """An action is not done, an observation not handed out, and the environment goes on."""
    TAKEN.clear()
    env, other = RemoteEnv(pc.calls, STRAY, outside=outside), RemoteEnv(pc.calls, STRAY)
    env.reset(), other.reset()
    with pytest.raises(RemoteEnvError, match=r"An action of .* is not of its declared space") as raised:
        env.step(value)
    assert raised.value.code == EnvErrorCode.OUTSIDE_SPACE
    assert TAKEN == []
    HANDED_OUT.append(value)
    with pytest.raises(RemoteEnvError, match=r"An observation of .* is not of its declared space") as raised:
        env.step(INSIDE)
    assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.OUTSIDE_SPACE, False)
    assert same(env.step(INSIDE)[0], INSIDE)
    assert same(other.step(INSIDE)[0], INSIDE)
    env.close()
    other.close()


@pytest.mark.parametrize(
    "value",
    [
        {"deep": (np.int64(0), np.zeros(3, np.float32))},
        {"deep": (np.int64(0),)},
        {"shallow": (np.int64(0), np.zeros(2, np.float32))},
        [np.zeros(2, np.float32)],
    ],
    ids=str,
)
def test_another_shape_is_found_in_what_is_nested(pc: RemotePc, value: Any) -> None:
    env = RemoteEnv(pc.calls, STRAY, kwargs={"nested": True})
    env.reset()
    HANDED_OUT.append({"deep": (np.int64(7), np.full(2, np.nan, np.float32))})
    assert env.step(INSIDE)[0]["deep"][0] == 7
    HANDED_OUT.append(value)
    with pytest.raises(RemoteEnvError, match=r"An observation of .* is not of its declared space"):
        env.step(INSIDE)
    env.close()


@pytest.mark.parametrize("outside", ["warn", "refuse", "pass"])
def test_another_shape_in_a_vector_is_an_error(pc: RemotePc, outside: Literal["warn", "refuse", "pass"]) -> None:
    envs = RemoteVectorEnv(pc.calls, STRAY, 2, outside=outside)
    envs.reset()
    HANDED_OUT.append(MISSHAPEN["another shape"])
    with pytest.raises(RemoteEnvError):
        envs.step(np.zeros((2, 2), np.float32))
    assert envs.step(np.zeros((2, 2), np.float32))[0].shape == (2, 2)
    envs.close()


def test_a_vector_refuses_actions_before_any_is_done(pc: RemotePc) -> None:
    envs = RemoteVectorEnv(pc.calls, STRAY, 2, outside="refuse")
    envs.reset()
    with pytest.raises(RemoteEnvError, match=r"An action of .* is not of its declared space"):
        envs.step(np.array([[0.0, 0.0], [7.0, 0.0]], np.float32))
    assert TAKEN == []
    envs.close()


def test_nan_in_a_vector_is_passed_on(pc: RemotePc) -> None:
    envs = RemoteVectorEnv(pc.calls, STRAY, 2)
    envs.reset()
    HANDED_OUT.append(OUTSIDE["NaN"])
    seen = envs.step(np.zeros((2, 2), np.float32))[0]
    assert np.isnan(seen).tolist() == [[True, False], [False, False]]
    envs.close()


def test_another_dtype_in_a_vector_is_said_and_stacked_as_gymnasium_stacks_it(
    pc: RemotePc, caplog: pytest.LogCaptureFixture
) -> None:
    envs = RemoteVectorEnv(pc.calls, STRAY, 2)
    envs.reset()
    HANDED_OUT.append(OUTSIDE["another dtype"])
    with caplog.at_level(logging.WARNING, "bridge.serve_env"):
        seen = envs.step(np.zeros((2, 2), np.float32))[0]
    assert same(seen, np.array([[0.5, 0.5], [0.0, 0.0]], np.float32))
    assert "an observation of" in caplog.text
    envs.close()

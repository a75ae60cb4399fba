"""An environment that does what none should is told with its own words; the bridge and the others live on."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.support.remote_pc import RemotePc, remote_pc
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from wire.messages import EnvErrorCode

BAD = f"{__name__}:Bad"


def _raises() -> Any:
    raise ValueError("the engine is off")


MANNERS: dict[str, Callable[[], Any]] = {
    "raises": _raises,
    "ends the process, as it thinks": lambda: sys.exit("the window was closed"),
    "returns nothing": lambda: None,
    "returns too little": lambda: (np.zeros(1, np.float32),),
    "recurses": lambda: MANNERS["recurses"](),
}
WORDS = {
    "raises": "ValueError: the engine is off",
    "ends the process, as it thinks": "SystemExit: the window was closed",
    "returns nothing": "TypeError",
    "returns too little": "ValueError: not enough values to unpack",
    "recurses": "RecursionError",
}


class Bad(gymnasium.Env[Any, Any]):
    """Behaves until it comes to `where`, and behaves again when it is asked once more."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, where: str = "", manner: str = "", render_mode: str | None = None) -> None:
        self._where, self._manner, self.render_mode = where, manner, render_mode
        if where == "make":
            MANNERS[manner]()

    def _answer(self, where: str, answer: Any) -> Any:
        if where != self._where:
            return answer
        self._where = ""
        return MANNERS[self._manner]()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        return self._answer("reset", (np.zeros(1, np.float32), {}))

    def step(self, action: Any) -> Any:  # noqa: ARG002
        return self._answer("step", (np.zeros(1, np.float32), 0.0, False, False, {}))

    def render(self) -> Any:
        return self._answer("render", np.zeros((2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([BAD], tmp_path_factory.mktemp("r")) as running:
        yield running


def refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(RemoteEnvError, match=words) as raised:
        call()
    assert raised.value.code == EnvErrorCode.RAISED
    assert not raised.value.is_recoverable


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("where", ["reset", "step"])
def test_what_goes_wrong_is_told_and_the_next_call_is_served(pc: RemotePc, where: str, manner: str) -> None:
    env, other = RemoteEnv(pc.calls, BAD, kwargs={"where": where, "manner": manner}), RemoteEnv(pc.calls, BAD)
    other.reset()
    if where == "reset":
        refused(env.reset, WORDS[manner])
    env.reset()
    if where == "step":
        refused(lambda: env.step(0), WORDS[manner])
    env.step(0)
    other.step(0)
    env.close()
    other.close()


@pytest.mark.parametrize("manner", ["raises", "ends the process, as it thinks", "recurses"])
def test_one_that_cannot_be_made_says_why(pc: RemotePc, manner: str) -> None:
    refused(lambda: RemoteEnv(pc.calls, BAD, kwargs={"where": "make", "manner": manner}), WORDS[manner])
    refused(lambda: RemoteEnv(pc.calls, BAD, kwargs={"gravity": 1}), "unexpected keyword argument 'gravity'")
    RemoteEnv(pc.calls, BAD).close()


def test_a_picture_that_cannot_be_drawn_says_why(pc: RemotePc) -> None:
    env = RemoteEnv(pc.calls, BAD, render_mode="rgb_array", kwargs={"where": "render", "manner": "raises"})
    env.reset()
    refused(env.render, WORDS["raises"])
    assert env.render().shape == (2, 2, 3)
    env.close()


def test_one_of_a_vector_that_raises_is_told(pc: RemotePc) -> None:
    envs = RemoteVectorEnv(pc.calls, BAD, 2, kwargs={"where": "step", "manner": "raises"})
    envs.reset()
    refused(lambda: envs.step(np.zeros(2, np.int64)), WORDS["raises"])
    envs.close()

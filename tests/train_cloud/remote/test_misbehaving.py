"""An environment that does what none should is told with its own words; the bridge and the others live on."""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from wire.messages import EnvErrorCode

BAD = f"{__name__}:Bad"


RELEASED = threading.Event()


def _raises() -> Any:
    raise ValueError("the engine is off")


MANNERS: dict[str, Callable[[], Any]] = {
    "raises": _raises,
    "ends the process, as it thinks": lambda: sys.exit("the window was closed"),
    "returns nothing": lambda: None,
    "returns too little": lambda: (np.zeros(1, np.float32),),
    "recurses": lambda: MANNERS["recurses"](),
}
HANGS = "hangs"
LARGE = {"draws much": lambda: np.zeros((2048, 2048, 3), np.uint8)}
WORDS = {
    "raises": "ValueError: the engine is off",
    "ends the process, as it thinks": "SystemExit: the window was closed",
    "returns nothing": "TypeError",
    "returns too little": "ValueError: not enough values to unpack",
    "recurses": "RecursionError",
}


CLOSED: list[str] = []
"""Manners of those that were closed."""


class Bad(gymnasium.Env[Any, Any]):
    """Behaves until it comes to `where`, and behaves again when it is asked once more."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, where: str = "", manner: str = "", render_mode: str | None = None) -> None:
        self._where, self._manner, self.render_mode = where, manner, render_mode
        self._answer("make")

    def _answer(self, where: str, answer: Any = None) -> Any:
        if where != self._where:
            return answer
        self._where = ""
        if self._manner != HANGS:
            return (MANNERS | LARGE)[self._manner]()
        RELEASED.wait(120.0)
        return answer

    def close(self) -> None:
        CLOSED.append(self._manner)
        self._answer("close")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        return self._answer("reset", (np.zeros(1, np.float32), {}))

    def step(self, action: Any) -> Any:  # noqa: ARG002 - whatever it is asked
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
    # The traceback's last lines, with the place in the person's own code.
    assert re.search(r'File ".*", line \d+, in ', str(raised.value))
    assert 2 < len(str(raised.value).splitlines()) <= 12


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


@pytest.mark.slow
@pytest.mark.parametrize("where", ["reset", "step", "render", "make"])
def test_one_that_hangs_is_given_up_and_disturbs_nobody(pc: RemotePc, where: str) -> None:
    RELEASED.clear()
    times: Any = {"step_seconds": 1.0, "make_seconds": 300.0 if where in ("step", "render") else 1.0}
    other = RemoteEnv(pc.calls, BAD)
    other.reset()

    def make() -> RemoteEnv:
        return RemoteEnv(pc.calls, BAD, render_mode="rgb_array", kwargs={"where": where, "manner": HANGS}, **times)

    def call() -> Any:
        if where == "make":
            return make()
        env = made[0]
        if where == "reset":
            return env.reset()
        env.reset()
        return env.step(0) if where == "step" else env.render()

    made = [] if where == "make" else [make()]
    with pytest.raises(RemoteEnvError, match="did not answer in time") as raised:
        call()
    assert (raised.value.code, raised.value.is_recoverable) == ("no_answer", True)
    assert other.step(0)[0].tolist() == [0.0]
    RELEASED.set()
    if made:
        assert made[0].reset()[0].tolist() == [0.0], "another one is made, and goes on"
        made[0].close()
    other.close()


@pytest.mark.parametrize("manner", ["raises", "ends the process, as it thinks"])
def test_one_that_raises_when_it_is_closed_is_closed(
    pc: RemotePc, manner: str, caplog: pytest.LogCaptureFixture
) -> None:
    CLOSED.clear()
    envs, other = (
        RemoteVectorEnv(pc.calls, BAD, 2, kwargs={"where": "close", "manner": manner}),
        RemoteEnv(pc.calls, BAD),
    )
    envs.reset(), other.reset()
    with caplog.at_level(logging.ERROR, "bridge.serve_env"):
        envs.close()
        wait_until(lambda: CLOSED.count(manner) == 2, "both are closed")
        wait_until(lambda: caplog.text.count("an environment raised when it was closed") == 2, "it is told on the PC")
    assert WORDS[manner] in caplog.text
    other.step(0)
    other.close()
    RemoteEnv(pc.calls, BAD).close()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"deep": [object()]}, r"under \['deep'\]\[0\] there is a builtins.object"),
        (np.zeros(2**19), r"has \d+ bytes; at most 4194304 travel"),
    ],
    ids=["object", "large"],
)
def test_what_cannot_travel_to_the_pc_is_said_before_it_is_asked(pc: RemotePc, value: Any, words: str) -> None:
    env = RemoteEnv(pc.calls, BAD, outside="pass")
    env.reset()
    with pytest.raises(RemoteEnvError, match=words) as raised:
        env.step(value)
    assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.CANNOT_TRAVEL, False)
    with pytest.raises(RemoteEnvError):
        env.reset(options={"value": value})
    with pytest.raises(RemoteEnvError):
        RemoteEnv(pc.calls, BAD, kwargs={"value": value})
    env.step(0)
    env.close()


def test_an_answer_that_is_too_large_is_told(pc: RemotePc) -> None:
    env = RemoteEnv(pc.calls, BAD, render_mode="rgb_array", kwargs={"where": "render", "manner": "draws much"})
    env.reset()
    with pytest.raises(RemoteEnvError, match=r"The answer has \d+ bytes; at most 4194304 travel") as raised:
        env.render()
    assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.CANNOT_TRAVEL, False)
    assert env.render().shape == (2, 2, 3)
    env.close()

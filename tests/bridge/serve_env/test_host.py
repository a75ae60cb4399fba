"""What a receiver can make a PC do and hold, and what of the PC's own words it is told."""

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from bridge.serve_env.host import MOST_GIVEN_UP, Host
from experience.remote_calls import MAX_SENTENCE, Make, Reset, body_of, read_error
from experience.values import pack, unpack
from tests.support.waiting import wait_until
from wire.messages import EnvAction, EnvCall, EnvErrorCode, EnvResult

CLIENT = "c" * 32
RAISED = {"long": "x" * 10**7, "no text": "a folder \udcff"}


class Scripted(gymnasium.Env[Any, Any]):
    """Raises what its action names; an episode ends at once, and its info is used again by the next."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)
    released = threading.Event()
    alive: int = 0

    def __init__(self, hangs: bool = False) -> None:
        if hangs:
            type(self).alive += 1
            self.released.wait(60)
        self._info: dict[str, Any] = {"seen": []}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self._info["seen"].clear()
        return np.zeros(1, np.float32), self._info

    def step(self, action: Any) -> Any:
        if action in RAISED:
            raise RuntimeError(RAISED[action])
        self._info["seen"].append(1)
        return np.zeros(1, np.float32), 0.0, True, False, self._info


class Asking:
    """A receiver that is believed by its host."""

    def __init__(self, most: int) -> None:
        self.answers: queue.SimpleQueue[EnvResult] = queue.SimpleQueue()
        self.host = Host({"scripted": Scripted}, most, self.answers.put)
        self._numbers = itertools.count(1)

    def ask(self, what: EnvAction, body: bytes = b"", client: str = CLIENT) -> EnvCall:
        call = EnvCall(client, next(self._numbers), what, 10.0, body)
        self.host.ask(call)
        return call

    def answer(self, what: EnvAction, body: bytes = b"") -> EnvResult:
        call = self.ask(what, body)
        while (result := self.answers.get(timeout=60)).number != call.number:
            pass
        return result


@pytest.fixture
def asking() -> Iterator[Asking]:
    Scripted.released.clear()
    Scripted.alive = 0
    asking = Asking(2)
    yield asking
    Scripted.released.set()
    asking.host.close()


@pytest.mark.parametrize("what", RAISED)
def test_whatever_an_environment_says_as_it_fails_is_answered(asking: Asking, what: str) -> None:
    asking.answer(EnvAction.MAKE, body_of(Make("scripted")))
    for _ in range(2):
        result = asking.answer(EnvAction.STEP, pack(what))
        assert result.error == EnvErrorCode.RAISED
        assert len(result.body) < 2 * MAX_SENTENCE
        assert RAISED[what][-8:].encode("utf-8", "backslashreplace").decode() in read_error(result.body)


@pytest.mark.parametrize("body", [b"\xc1", pack({"text": 1}), pack("x" * 10**6), pack(["x"] * 10**5)])
def test_whatever_a_pc_says_of_an_error_is_short(body: bytes) -> None:
    assert len(read_error(body)) <= MAX_SENTENCE


def test_no_receiver_has_more_made_than_hang_or_close(asking: Asking) -> None:
    make = body_of(Make("scripted", {"hangs": True}, count=1))
    for number in range(100):
        asking.ask(EnvAction.MAKE, make, f"{number:032x}" if number % 2 else CLIENT)
    refused: list[EnvResult] = []
    while not asking.answers.empty():
        refused.append(asking.answers.get())
    assert {result.error for result in refused} == {EnvErrorCode.FULL}
    most = 2 * asking.host._most + MOST_GIVEN_UP + 1
    assert len(asking.host._clients) + len(asking.host._given_up) <= most
    assert Scripted.alive <= most
    Scripted.released.set()
    wait_until(lambda: all(one.ended for one in asking.host._given_up), "they come back")
    for name in list(asking.host._clients):
        asking.ask(EnvAction.CLOSE, client=name)
    assert asking.answer(EnvAction.MAKE, body_of(Make("scripted"))).error is None


def test_infos_of_an_episodes_end_are_not_those_of_the_next(asking: Asking) -> None:
    asking.answer(EnvAction.MAKE, body_of(Make("scripted", count=1, autoreset_mode="SameStep")))
    asking.answer(EnvAction.RESET, body_of(Reset()))
    infos = unpack(asking.answer(EnvAction.STEP, pack(np.zeros(1, np.int64))).body)[4]
    assert infos["final_info"]["seen"].tolist() == [[1]]


def test_what_is_asked_in_mid_call_and_after_it_is_done_once(asking: Asking) -> None:
    call = asking.ask(EnvAction.MAKE, body_of(Make("scripted", {"hangs": True})))
    for _ in range(50):
        asking.host.ask(call)
    Scripted.released.set()
    first = asking.answers.get(timeout=60)
    for _ in range(50):
        asking.host.ask(call)
    again: list[EnvResult] = [asking.answers.get(timeout=60) for _ in range(50)]
    assert all(one is first for one in again)
    assert Scripted.alive == 1

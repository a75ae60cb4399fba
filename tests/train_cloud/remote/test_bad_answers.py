"""A PC whose answers are none: each is a typed error, and nothing of it is imported or believed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from experience.remote_calls import body_of, made
from experience.values import pack
from tests.conformance.of_receivers import Receiver, receiver_of
from tests.support.receivers import ThreadedReceiver
from tests.support.remote_pc import ServedHere, receiver_here
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from wire.messages import EnvAction, EnvCall, EnvResult

NAME = "tests.conformance.counter:Counter"
MADE = body_of(made(spaces.Discrete(2), spaces.Discrete(2), {}))
BEGUN = pack([np.int64(0), {}])


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ThreadedReceiver, Path]]:
    with receiver_here(tmp_path_factory.mktemp("r")) as running:
        yield running


@contextmanager
def answering(pc: Receiver, bodies: dict[EnvAction, bytes]) -> Iterator[None]:
    """The PC answers each kind of call with these bytes."""
    over = threading.Event()
    client = pc.client

    def answer() -> None:
        while not over.is_set():
            try:
                call = client.hear(EnvCall, seconds=0.1)
            except TimeoutError:
                continue
            client.say(EnvResult(call.client, call.number, 0.0, bodies.get(call.what, pack(None))))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


NO_MADE = {
    "nothing": b"",
    "no value": b"\xc1",
    "none": pack(None),
    "a list": pack([1]),
    "no spaces": pack({"observation_space": "{}", "action_space": "[]", "metadata": {}}),
    "spaces of another kind": pack({"observation_space": '{"type":"os.system"}', "action_space": "", "metadata": {}}),
    "more than was asked for": pack({"observation_space": "", "action_space": "", "metadata": {}, "more": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("body", NO_MADE.values(), ids=NO_MADE)
def test_what_tells_of_no_environment(running: tuple[ThreadedReceiver, Path], body: bytes) -> None:
    receiver, calls = running
    with receiver_of(receiver.pairing) as pc, answering(pc, {EnvAction.MAKE: body}):
        with pytest.raises(RemoteEnvError) as raised:
            RemoteEnv(calls, NAME)
        assert (raised.value.code, raised.value.is_recoverable) == ("bad_answer", False)


NO_STEP: dict[str, Any] = {
    "nothing": b"",
    "no value": b"\xc1",
    "an array that ends in its head": b"\xc7\x04\x01\x03<f4",
    "none": pack(None),
    "too little": pack([np.int64(0)]),
    "a text": pack("abcde"),
    "a dict": pack(dict.fromkeys(range(5))),
}


@pytest.mark.parametrize("body", NO_STEP.values(), ids=NO_STEP)
def test_what_tells_of_no_step(running: tuple[ThreadedReceiver, Path], body: bytes) -> None:
    receiver, calls = running
    bodies = {EnvAction.MAKE: MADE, EnvAction.RESET: BEGUN, EnvAction.STEP: body}
    with receiver_of(receiver.pairing) as pc, answering(pc, bodies):
        env = RemoteEnv(calls, NAME)
        env.reset()
        with pytest.raises(RemoteEnvError) as raised:
            env.step(0)
        assert (raised.value.code, raised.value.is_recoverable) == ("bad_answer", False)
        bodies[EnvAction.RESET] = body
        with pytest.raises(RemoteEnvError, match="The PC"):
            env.reset()
        env.close()


def test_of_several_pcs_the_one_that_has_it_and_the_fewest_makes_it(running: tuple[ThreadedReceiver, Path]) -> None:
    receiver, calls = running
    other = "tests.support.counting_env:Counting"
    pcs = [ServedHere(receiver.pairing, names, 2) for names in ([NAME], [NAME], [other])]
    try:
        wait_until(lambda: len(receiver.receiver._relay.served) == 3, "all three are there")
        envs = [RemoteEnv(calls, name) for name in (NAME, NAME, NAME, NAME, other, other)]
        with pytest.raises(RemoteEnvError, match="This PC steps 2 environments") as raised:
            RemoteEnv(calls, other)
        assert raised.value.code == "full"
        for env in envs:
            env.reset()
            assert env.step(0)[0].tolist() == [1.0]
            env.close()
    finally:
        for pc in pcs:
            pc.end()

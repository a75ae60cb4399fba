"""A PC that has the token and means no good: the trainer goes on waiting in words, and holds nothing for it."""

import stat
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from experience.recorder import Recorder
from experience.values import pack
from tests.experience.test_values import array_bytes
from tests.support.hostile_pc import NAME, answering, introduction, well_behaved
from tests.support.receivers import ThreadedReceiver
from tests.support.waiting import wait_until
from tests.train_cloud.remote.test_faults import calls_of
from tests.train_cloud.trainer.test_acting import CONFIG, COUNTING, Listed, turned
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from train_cloud.trainer.acting.actor import Actor
from wire.messages import CloseCode, EnvAction, EnvCall, EnvResult, Ping


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(CONFIG, tmp_path_factory.mktemp("r"))
    yield receiver
    receiver.close()


ZERO, NO = np.zeros((1, 1)), np.zeros(1, bool)
YES = np.ones(1, bool)


def final(value: Any) -> bytes:
    ended = np.empty(1, object)
    ended[0] = value
    return pack([ZERO, np.zeros(1), YES, NO, {"final_obs": ended}])


NO_ANSWERS: dict[str, tuple[EnvAction, bytes]] = {
    "a make that is a number": (EnvAction.MAKE, pack(1)),
    "a make of nothing": (EnvAction.MAKE, pack(None)),
    "spaces of another kind": (EnvAction.MAKE, pack({"observation_space": "x", "action_space": "y", "metadata": {}})),
    "a reset that is a number": (EnvAction.RESET, pack(1)),
    "a reset of a list": (EnvAction.RESET, pack([[[0.0]], {}])),
    "a reset of ragged lists": (EnvAction.RESET, pack([[[0.0], [1.0, 2.0]], {}])),
    "a reset of a text": (EnvAction.RESET, pack(["left", {}])),
    "a reset of a dict": (EnvAction.RESET, pack({"observations": 1})),
    "a reset of objects": (EnvAction.RESET, pack([np.array([[None]], object), {}])),
    "another shape": (EnvAction.RESET, pack([np.zeros((2, 1)), {}])),
    "another dtype": (EnvAction.RESET, pack([np.zeros((1, 1), "f4"), {}])),
    "NaN": (EnvAction.RESET, pack([np.full((1, 1), np.nan), {}])),
    "a number that no batch holds": (EnvAction.RESET, pack([np.full((1, 1), 1e10), {}])),
    "a step of three": (EnvAction.STEP, pack([ZERO, 0.0, False])),
    "a step that is a number": (EnvAction.STEP, pack(1)),
    "many rewards": (EnvAction.STEP, pack([ZERO, np.zeros(3), NO, NO, {}])),
    "a reward that is a text": (EnvAction.STEP, pack([ZERO, "much", NO, NO, {}])),
    "a reward beyond all": (EnvAction.STEP, pack([ZERO, [10**400], NO, NO, {}])),
    "flags that are none": (EnvAction.STEP, pack([ZERO, np.zeros(1), {}, [], {}])),
    "an end without an observation": (EnvAction.STEP, pack([ZERO, np.zeros(1), YES, NO, {}])),
    "an end without infos": (EnvAction.STEP, pack([ZERO, np.zeros(1), YES, NO, None])),
    "an end on NaN": (EnvAction.STEP, final(np.full(1, np.nan))),
    "an end on another kind of numbers": (EnvAction.STEP, final(np.zeros(1, "c16"))),
    "an end on another shape": (EnvAction.STEP, final(np.zeros(2))),
    "an end on an endless number": (EnvAction.STEP, final([10**400])),
    "an end on a text": (EnvAction.STEP, final(["1.0"])),
    "ends without items": (
        EnvAction.STEP,
        b"\x95" + pack(ZERO) + pack(np.zeros(1)) + array_bytes(b"|S0", (2**31 - 1,), b"") + pack(NO) + b"\x80",
    ),
    "rewards without items": (
        EnvAction.STEP,
        b"\x95" + pack(ZERO) + array_bytes(b"|S0", (2**31 - 1,), b"") + pack(NO) + pack(NO) + b"\x80",
    ),
    "no value": (EnvAction.STEP, b"\xc1"),
    "nothing": (EnvAction.STEP, b""),
}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "body"), NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_said_and_asked_anew(receiver: ThreadedReceiver, what: EnvAction, body: bytes) -> None:
    wrong = [body]

    def answer(call: EnvCall) -> bytes:
        return wrong.pop() if wrong and call.what is what else well_behaved(call)

    actor, sink = Actor(CONFIG, calls_of(receiver)), Listed()
    actor.begin(COUNTING, Recorder(sink, COUNTING.spaces.layout, 1), lambda _: np.array([0]), lambda: 1, 0)
    with answering(receiver, answer):
        turned(actor, lambda: "a PC that serves" not in (actor.waits_for() or "a PC that serves"), "it is said")
        assert "answer" in (actor.waits_for() or "")
        turned(actor, lambda: sink.steps_of_car(0) > 0, "it goes on")
        actor.close()


def test_what_nobody_can_learn_from_is_said_and_costs_its_own_step_alone(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    rewards = [1e300, np.nan, np.inf, -1e300, 1e300] + [1.0] * 5

    def answer(call: EnvCall) -> bytes:
        if call.what is not EnvAction.STEP:
            return well_behaved(call)
        reward = np.full(1, rewards.pop(0) if rewards else 1.0)
        ended = np.full(1, not rewards)
        return pack([ZERO, reward, ended, NO, {"final_obs": [np.zeros(1)]}])

    actor, sink = Actor(CONFIG, calls_of(receiver)), Listed()
    actor.begin(COUNTING, Recorder(sink, COUNTING.spaces.layout, 1), lambda _: np.array([0]), lambda: 1, 0)
    with answering(receiver, answer):
        turned(actor, lambda: sink.steps_of_car(0) >= 6, "it goes on")
        actor.close()
    first = sink.batches[0].episodes[0]
    assert (first.steps, first.total_reward, first.reason) == (10, 5.0, "terminated")
    assert "a reward is NaN, infinite or beyond" in caplog.text


def test_what_cannot_be_read_is_said_once_and_ends_the_connection(
    receiver: ThreadedReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver.client(ping_interval=None, close_timeout=60) as client:
        client.begin(introduction(receiver.config))
        # All of it comes at once, and whoever sends it hangs up by no means.
        client.socket.socket.sendall(b"\x82\x81\0\0\0\0\xc1" * 500)
        assert client.close_code() == CloseCode.INVALID_DATA
        wait_until(lambda: receiver.receiver._vitals.connections == 0, "it is let go", 5.0)
    assert sum("is let go" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "message",
    [EnvResult("b" * 32, 1, 0.0), EnvResult("b" * 32, 2**53 - 1, 0.0, bytes(10_000)), Ping(0.0)],
    ids=["answers", "large answers", "pings"],
)
def test_who_answers_what_nobody_asked_is_let_go(receiver: ThreadedReceiver, message: EnvResult | Ping) -> None:
    with receiver.client(ping_interval=None) as client:
        client.begin(introduction(receiver.config))

        def flood() -> bool:
            for _ in range(1000):
                client.blurt(message)
            return client.socket.close_code is not None

        wait_until(flood, "it is let go", 10.0)
        assert client.close_code() in (CloseCode.POLICY_VIOLATION, None, 1006)


def test_an_answer_of_another_pc_is_none(receiver: ThreadedReceiver) -> None:
    asked: list[EnvCall] = []

    def answer(call: EnvCall) -> bytes:
        if call.what is EnvAction.STEP:
            asked.append(call)
            # Whoever knows the call's names says something else first, and a wrong number.
            other.say(EnvResult(call.client, call.number, 0.0, pack("false")))
            other.round_trip()
            other.say(EnvResult(call.client, call.number + 1, 0.0, pack("false")))
            other.round_trip()
        return well_behaved(call)

    with answering(receiver, answer), receiver.client() as other:
        other.begin(introduction(receiver.config, stream="b" * 32, bridge="pc-b", environments=("another",)))
        env = RemoteVectorEnv(calls_of(receiver), NAME, 1)
        env.reset()
        for _ in range(5):
            assert env.step(np.zeros(1, np.int64))[0].tolist() == [[0.0]]
        env.close()
    assert len(asked) == 5


def huge(space: str) -> bytes:
    action = '{"dtype":"int64","n":2,"start":0,"type":"Discrete"}'
    return pack({"observation_space": space, "action_space": action, "metadata": {}})


BAD_ANSWERS: dict[str, tuple[EnvAction, bytes | EnvResult]] = {
    "a box beyond memory": (
        EnvAction.MAKE,
        huge('{"dtype":"uint8","high":255,"low":0,"shape":[1000000,1000000],"type":"Box"}'),
    ),
    "a choice beyond all": (
        EnvAction.MAKE,
        huge('{"dtype":"int64","n":9223372036854775808,"start":0,"type":"Discrete"}'),
    ),
    "spaces in spaces": (EnvAction.MAKE, huge('{"space":' * 50 + "1" + ',"stack":false,"type":"Sequence"}' * 50)),
    "long spaces": (EnvAction.MAKE, huge(" " * 10**6)),
    "a reset that is a number": (EnvAction.RESET, pack(1)),
    "a reset of three": (EnvAction.RESET, pack([ZERO, {}, 1])),
    "a step of two": (EnvAction.STEP, pack([ZERO, {}])),
    "a step that is a dict": (EnvAction.STEP, pack(dict.fromkeys(range(5)))),
    "a step that is none": (EnvAction.STEP, b"\xc1"),
    "a silence that is said": (EnvAction.STEP, EnvResult("a" * 32, 1, 0.0, pack("I"), NO_ANSWER)),
    "an error in bytes": (EnvAction.STEP, EnvResult("a" * 32, 1, 1e9, bytes(10**6), "bad_answer")),
}


@pytest.mark.slow
@pytest.mark.parametrize(("what", "said"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_what_is_no_answer_is_a_typed_error(
    receiver: ThreadedReceiver, what: EnvAction, said: bytes | EnvResult
) -> None:
    def answer(call: EnvCall) -> bytes | EnvResult:
        if call.what is not what:
            return well_behaved(call)
        if isinstance(said, bytes):
            return said
        return msgspec.structs.replace(said, client=call.client, number=call.number)

    def asked() -> None:
        env = RemoteVectorEnv(calls_of(receiver), NAME, 1)
        env.reset()
        env.step(np.zeros(1, np.int64))

    with answering(receiver, answer):
        with pytest.raises(RemoteEnvError) as raised:
            asked()
        assert (raised.value.code, raised.value.is_recoverable) == ("bad_answer", False)
        assert len(str(raised.value)) < 10_000


def test_time_that_was_not_spent_is_not_believed(receiver: ThreadedReceiver) -> None:
    def answer(call: EnvCall) -> EnvResult:
        return EnvResult(call.client, call.number, 1e9, well_behaved(call))

    with answering(receiver, answer):
        env = RemoteVectorEnv(calls_of(receiver), NAME, 1)
        channel = env._stepping.channel
        assert 0.0 < channel.remote_seconds < 100.0
        assert channel.overhead_seconds >= 0.0
        env.close()


def test_only_the_user_who_receives_can_open_the_socket(receiver: ThreadedReceiver) -> None:
    assert stat.S_IMODE(calls_of(receiver).stat().st_mode) == 0o600

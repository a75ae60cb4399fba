"""A PC that has the token and means no good: the trainer goes on waiting in words, and holds nothing for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from experience.recorder import Recorder
from experience.values import pack
from tests.experience.test_values import array_bytes
from tests.support.hostile_pc import MADE, answering, well_behaved
from tests.support.receivers import ThreadedReceiver
from tests.train_cloud.remote.test_faults import calls_of
from tests.train_cloud.trainer.test_acting import CONFIG, COUNTING, Listed, turned
from train_cloud.trainer.acting.actor import Actor
from wire.messages import EnvAction, EnvCall, EnvResult


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
    "an end on another dtype": (EnvAction.STEP, final(np.zeros(1, "f4"))),
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

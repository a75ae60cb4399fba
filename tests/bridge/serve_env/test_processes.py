"""A vector whose environments are stepped in several processes: as in one, and whatever happens to a process."""

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from bridge.serve_env.host import Host
from bridge.serve_env.offers import offers_of
from experience.compression import decompressed
from experience.remote_calls import Make, Reset, body_of
from experience.values import pack, unpack
from tests.support.pictures_env import HANGS, NAME, OUTSIDE, RAISES, UNSENDABLE
from tests.support.waiting import PATIENCE, wait_until
from wire.messages import EnvAction, EnvCall, EnvErrorCode, EnvResult

COUNT = 5
MODES = [mode.value for mode in AutoresetMode]


class Pc:
    """A host, asked as a receiver would ask it."""

    def __init__(self, processes: int | None, most: int = 64) -> None:
        self._answers: queue.Queue[EnvResult] = queue.Queue()
        self.host = Host(offers_of([NAME], Path.cwd()), most, self._answers.put, processes)
        self._numbers: dict[str, int] = {}

    def ask(self, what: EnvAction, body: bytes = b"", client: str = "a") -> None:
        number = self._numbers[client] = self._numbers.get(client, 0) + 1
        self.host.ask(EnvCall(client * 32, number, what, 60.0, body))

    def hear(self) -> EnvResult:
        return self._answers.get(timeout=PATIENCE * 60.0)

    def body(self, what: EnvAction, body: bytes = b"", client: str = "a") -> bytes:
        self.ask(what, body, client)
        result = self.hear()
        assert result.error is None, unpack(result.body)
        assert result.client == client * 32
        return decompressed(result.body)

    def make(self, count: int = COUNT, mode: str = "NextStep", client: str = "a", **more: Any) -> None:
        asked = Make(NAME, more.pop("kwargs", {}), count, mode, **more)  # type: ignore[arg-type]  # texts
        self.body(EnvAction.MAKE, body_of(asked), client)

    def reset(self, client: str = "a") -> Any:
        return unpack(self.body(EnvAction.RESET, body_of(Reset(1)), client))

    def step(self, *actions: int, client: str = "a") -> Any:
        return unpack(self.body(EnvAction.STEP, pack(np.array(actions)), client))

    def refused(self, code: EnvErrorCode, what: EnvAction, body: bytes = b"") -> str:
        self.ask(what, body)
        result = self.hear()
        assert result.error == code, unpack(result.body)
        return str(unpack(result.body))


@contextmanager
def pc_of(processes: int | None) -> Iterator[Pc]:
    pc = Pc(processes)
    try:
        yield pc
    finally:
        pc.host.close()


@pytest.fixture
def pc() -> Iterator[Pc]:
    with pc_of(2) as pc:
        yield pc


def pids_of(begun: Any) -> list[int]:
    pids: list[int] = begun[1]["pid"].tolist()
    return pids


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_each_answer_is_that_of_one_process_to_the_bit(mode: str) -> None:
    with pc_of(1) as one, pc_of(3) as several:
        chance = np.random.default_rng(1)

        def both(what: EnvAction, body: bytes) -> Any:
            answers = one.body(what, body), several.body(what, body)
            assert answers[0] == answers[1]
            return unpack(answers[0])

        both(EnvAction.MAKE, body_of(Make(NAME, {}, COUNT, mode, "rgb_array")))  # type: ignore[arg-type]  # texts
        both(EnvAction.RESET, body_of(Reset(7, {"track": "long"})))
        ended = 0
        for _ in range(60):
            _, _, terminated, truncated, _ = both(EnvAction.STEP, pack(chance.integers(0, 1, COUNT)))
            over = terminated | truncated
            ended += int(over.sum())
            if mode == "Disabled" and over.any():
                both(EnvAction.RESET, body_of(Reset(None, {"reset_mask": over, "track": "short"})))
        assert ended > 20
        both(EnvAction.RENDER, b"")
        both(EnvAction.RESET, body_of(Reset([3, None, 1, 4, 5])))


@pytest.mark.slow
@pytest.mark.parametrize(
    "reset",
    [
        Reset([1, 2]),
        Reset(1, {"reset_mask": [True] * COUNT}),
        Reset(1, {"reset_mask": np.ones(2, bool)}),
        Reset(1, {"reset_mask": np.ones(COUNT, np.int64)}),
        Reset(1, {"reset_mask": np.zeros(COUNT, bool)}),
    ],
)
def test_a_reset_that_is_none_is_refused_in_the_same_words(pc: Pc, reset: Reset) -> None:
    pc.make()
    with pc_of(1) as one:
        one.make()
        said = [it.refused(EnvErrorCode.RAISED, EnvAction.RESET, body_of(reset)) for it in (one, pc)]
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    pc.reset()
    pc.step(*[0] * COUNT)


def test_environments_are_spread_over_so_many_processes(pc: Pc) -> None:
    pc.make(kwargs={"pids": True})
    pids = pids_of(pc.reset())
    assert [pids.index(pid) for pid in pids] == [0, 0, 0, 3, 3]
    assert os.getpid() not in pids
    pc.body(EnvAction.CLOSE)
    wait_until(lambda: all(map(is_gone, pids)), "the end of the processes")


def test_a_single_environment_stays_in_this_process(pc: Pc) -> None:
    pc.body(EnvAction.MAKE, body_of(Make(NAME, {"pids": True})))
    assert pc.reset()[1]["pid"] == os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("at", range(COUNT))
def test_one_that_raises_is_told_and_the_vector_goes_on(pc: Pc, at: int) -> None:
    pc.make()
    pc.reset()
    actions = np.zeros(COUNT, np.int64)
    actions[at] = RAISES
    said = pc.refused(EnvErrorCode.RAISED, EnvAction.STEP, pack(actions))
    assert said.endswith("RuntimeError: the wheel came off\n")
    pc.reset()
    assert pc.step(*[0] * COUNT)[4]["lived"].min() == 1


def test_what_cannot_travel_or_is_outside_its_space_is_told(pc: Pc) -> None:
    pc.make(outside="refuse")
    pc.reset()
    said = pc.refused(EnvErrorCode.CANNOT_TRAVEL, EnvAction.STEP, pack(np.array([0, 0, 0, 0, UNSENDABLE])))
    assert "<lambda>" in said
    pc.reset()
    said = pc.refused(EnvErrorCode.OUTSIDE_SPACE, EnvAction.STEP, pack(np.array([0, OUTSIDE, 0, 0, 0])))
    assert said.startswith("An observation of")
    pc.reset()
    pc.step(*[0] * COUNT)


def test_one_that_cannot_be_made_says_why(pc: Pc) -> None:
    said = pc.refused(EnvErrorCode.RAISED, EnvAction.MAKE, body_of(Make(NAME, {"fails": True}, COUNT)))
    assert said.endswith("ValueError: there is no wheel\n")
    pc.make()
    pc.reset()


def test_what_is_not_offered_is_begun_nowhere(pc: Pc) -> None:
    pc.refused(EnvErrorCode.UNKNOWN_ENVIRONMENT, EnvAction.MAKE, body_of(Make("os:abort", {}, COUNT)))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("while_asked", [False, True])
def test_a_process_that_is_killed_is_told_made_anew_and_disturbs_nobody(pc: Pc, while_asked: bool) -> None:
    pc.make(kwargs={"pids": True})
    pc.make(client="b")
    pids = pids_of(pc.reset())
    pc.reset("b")
    if while_asked:
        pc.ask(EnvAction.STEP, pack(np.array([0, 0, 0, 0, HANGS])))
    os.kill(pids[-1], signal.SIGKILL)
    if not while_asked:
        pc.ask(EnvAction.STEP, pack(np.zeros(COUNT, np.int64)))
    result = pc.hear()
    assert result.error == EnvErrorCode.UNKNOWN_CLIENT
    assert "exit code -9" in unpack(result.body)
    assert pc.step(*[0] * COUNT, client="b")[4]["lived"].min() == 1
    wait_until(lambda: all(map(is_gone, pids)), "the end of the other processes of the vector")
    pc.refused(EnvErrorCode.UNKNOWN_CLIENT, EnvAction.RESET, body_of(Reset()))
    pc.make()
    pc.reset()
    pc.step(*[0] * COUNT)


@pytest.mark.slow
@pytest.mark.parametrize("action", [EnvAction.MAKE, EnvAction.CLOSE])
def test_what_hangs_is_ended_with_its_process_and_disturbs_nobody(pc: Pc, action: EnvAction) -> None:
    pc.make(kwargs={"pids": True})
    pc.make(client="b")
    pids = pids_of(pc.reset())
    pc.reset("b")
    pc.ask(EnvAction.STEP, pack(np.array([HANGS, 0, 0, 0, 0])))
    assert pc.step(*[0] * COUNT, client="b")[4]["lived"].min() == 1
    if action is EnvAction.MAKE:
        pc.make(kwargs={"pids": True})
        assert not set(pids_of(pc.reset())) & set(pids)
    else:
        pc.body(action)
    wait_until(lambda: all(map(is_gone, pids)), "the end of what hangs")


@pytest.mark.slow
def test_environments_are_closed_where_they_are(pc: Pc, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pc.make(kwargs={"mark": str(mark)})
    pc.make(2, client="b", kwargs={"mark": str(mark)})
    pc.body(EnvAction.CLOSE)
    wait_until(lambda: mark.exists() and mark.read_text().count("closed") == COUNT, "the environments are closed")
    pc.host.close()
    assert mark.read_text().count("closed") == COUNT + 2


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "expected"), [(0.01, 2), (0.0, 1)])
def test_a_trial_says_whether_processes_pay(monkeypatch: pytest.MonkeyPatch, seconds: float, expected: int) -> None:
    monkeypatch.setattr("bridge.serve_env.processes._processors", lambda: 2)
    with pc_of(None) as pc:
        pc.make(kwargs={"pids": True, "seconds": seconds})
        pids = set(pids_of(pc.reset()))
        assert (len(pids), os.getpid() in pids) == (expected, expected == 1)
        # What was tried was another.
        assert pc.step(*[0] * COUNT)[4]["lived"].tolist() == [1] * COUNT


def test_what_cannot_be_tried_is_made_in_this_process_and_says_why_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.serve_env.processes._processors", lambda: 2)
    with pc_of(None) as pc:
        said = pc.refused(EnvErrorCode.RAISED, EnvAction.MAKE, body_of(Make(NAME, {"fails": True}, COUNT)))
        assert said.endswith("ValueError: there is no wheel\n")

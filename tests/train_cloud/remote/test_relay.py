"""Between a trainer and PCs: who is let in, who is found again, who is forgotten, and how soon silence is noticed."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import counting_env
from tests.support.fault_proxy import FaultProxy
from tests.support.hostile_pc import answering, well_behaved
from tests.support.receivers import CONFIG, REMOTE, Client, ThreadedReceiver, hello
from tests.support.waiting import PATIENCE, wait_until
from tests.train_cloud.remote.test_faults import NAME, calls_of, serving
from train_cloud.receiver import relay
from train_cloud.receiver.server import SILENCE_SECONDS
from train_cloud.receiver_client import metrics
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import WARNING
from train_cloud.run_folder.states import BRIDGES
from wire.messages import CloseCode, Drain, EnvAction, EnvCall, EnvErrorCode, Error, ErrorCode, Role

SERVES: dict[str, Any] = {"role": Role.SERVE_ENV, "signature": "", "spaces": "", "environments": (NAME,)}


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(REMOTE, tmp_path)
    yield receiver
    receiver.close()


@pytest.mark.parametrize(
    ("config", "changes", "mend"),
    [(REMOTE, {}, "start `ac-bridge serve-env --env Pendulum-v1`"), (CONFIG, SERVES, "Start `ac-bridge drive`")],
)
def test_a_bridge_whose_role_brings_the_run_nothing_is_told_what_to_do(
    tmp_path: Path, config: RunConfig, changes: dict[str, Any], mend: str
) -> None:
    receiver = ThreadedReceiver(config, tmp_path)
    with receiver.client() as client:
        client.say(hello(config, **changes))
        refusal = client.hear(Error)
        assert refusal.code == ErrorCode.UNKNOWN_ROLE
        assert mend in refusal.text
        assert client.close_code() == CloseCode.REFUSED
    receiver.close()


@pytest.mark.slow
def test_a_pc_that_serves_and_is_silent_is_let_go_soon(receiver: ThreadedReceiver) -> None:
    with FaultProxy(("127.0.0.1", receiver.port)) as proxy:
        pairing = replace(receiver.pairing, port=proxy.port)
        client = Client(pairing, ping_interval=None, close_timeout=0)
        client.begin(hello(REMOTE, **SERVES))
        proxy.black_hole()
        took = wait_until(lambda: receiver.receiver._vitals.connections == 0, "it is let go", SILENCE_SECONDS / 2)
        assert took < SILENCE_SECONDS
        client.socket.close()


def test_a_pc_that_serves_is_let_go_when_the_instance_goes_away(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(hello(REMOTE, **SERVES))
        receiver.stop.set()
        assert "going away" in client.hear(Drain).reason
        assert client.close_code() == CloseCode.GOING_AWAY


def test_a_pc_that_serves_counts_as_a_bridge_and_is_warned_of_an_end_like_one(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(hello(REMOTE, **SERVES))
        assert metrics(receiver.pairing)[BRIDGES] == 1
        (receiver.store.path.parent / WARNING).write_text("about to end as idle", encoding="utf-8")
        assert client.hear(Drain).reason == "about to end as idle"
    wait_until(lambda: metrics(receiver.pairing)[BRIDGES] == 0, "it has left")


def test_the_room_of_a_trainer_that_is_gone_is_free_at_once(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port, most=1):
        gone = RemoteEnv(calls_of(receiver), NAME)
        gone._stepping.channel.close()

        def made() -> bool:
            try:
                RemoteEnv(calls_of(receiver), NAME).reset()
            except RemoteEnvError as error:
                codes.add(error.code)
                return False
            return True

        codes = set[str]()

        # By itself the PC would forget it after a minute.
        wait_until(made, "there is room", 10.0)
        assert codes <= {EnvErrorCode.FULL}


def test_the_socket_may_lie_deep(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    folder.mkdir(parents=True)
    receiver = ThreadedReceiver(REMOTE, folder)
    with serving(receiver.port):
        assert len(str(calls_of(receiver))) > 107
        env = RemoteEnv(calls_of(receiver), NAME)
        assert env.reset()[0].tolist() == [0.0]
        env.close()
    receiver.close()


def test_there_is_time_for_other_work_while_the_pc_steps(receiver: ThreadedReceiver) -> None:
    counting_env.RELEASED.clear()
    with serving(receiver.port):
        env = RemoteVectorEnv(calls_of(receiver), NAME, 2)
        env.reset()
        env.step_async([2, 0])
        assert env._stepping.answer(0.0) is None
        assert env._stepping.answer(0.05) is None
        counting_env.RELEASED.set()
        assert env.step_wait()[0].tolist() == [[1.0], [1.0]]
        env.close()


@pytest.mark.slow
def test_who_is_slow_to_make_anew_is_not_taken_for_the_pc_that_is_gone(
    receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "GONE_SECONDS", 1.5)
    making = threading.Event()

    def slowly(call: EnvCall) -> bytes:
        if call.what is EnvAction.MAKE:
            making.wait(1.0 + relay.GONE_SECONDS)
        return well_behaved(call)

    with answering(receiver, well_behaved):
        env = RemoteVectorEnv(calls_of(receiver), NAME, 1, step_seconds=0.2)
        env.reset()
    wait_until(lambda: not receiver.receiver._relay.served, "the first is gone")
    with pytest.raises(RemoteEnvError) as raised:
        env.step(np.zeros(1, np.int64))
    assert raised.value.code == NO_ANSWER
    with answering(receiver, slowly, "b"):
        began = time.monotonic()
        env.reset()
        assert time.monotonic() - began < PATIENCE * 10.0


@pytest.mark.slow
def test_a_step_that_outlasts_a_start_of_the_receiver_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "GONE_SECONDS", 4.0)
    counting_env.RELEASED.clear()
    first = ThreadedReceiver(REMOTE, tmp_path)
    with FaultProxy(("127.0.0.1", first.port)) as proxy, serving(proxy.port), ThreadPoolExecutor(1) as pool:
        env = RemoteEnv(calls_of(first), NAME, step_seconds=300.0)
        env.reset()
        step = pool.submit(env.step, 2)
        first.close()
        second = ThreadedReceiver(REMOTE, tmp_path)
        proxy.target = ("127.0.0.1", second.port)
        try:
            wait_until(lambda: len(second.receiver._relay._bridges) == 1, "the PC is back")
            # Nobody says in this time that the PC is gone.
            with pytest.raises(TimeoutError):
                step.result(1.5 * relay.GONE_SECONDS)
        finally:
            counting_env.RELEASED.set()
        assert step.result(60)[0].tolist() == [1.0]
        assert env.step(0)[0].tolist() == [2.0]
        env.close()
        second.close()


@pytest.mark.parametrize("action", [object(), np.zeros(2**22 + 1, np.uint8)], ids=["an object", "too many bytes"])
def test_an_action_that_cannot_travel_is_a_typed_error_at_once(receiver: ThreadedReceiver, action: Any) -> None:
    with serving(receiver.port):
        env = RemoteEnv(calls_of(receiver), NAME)
        env.reset()
        with pytest.raises(RemoteEnvError, match="What is asked of the PC") as raised:
            env.step(action)
        assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.CANNOT_TRAVEL, False)
        assert env.step(0)[0].tolist() == [1.0]
        env.close()

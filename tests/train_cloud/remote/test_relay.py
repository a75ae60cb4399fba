"""Between a trainer and PCs: who is let in, who is found again, who is forgotten, and how soon silence is noticed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import counting_env
from tests.support.receivers import CONFIG, REMOTE, ThreadedReceiver, hello
from tests.support.waiting import wait_until
from tests.train_cloud.remote.test_faults import NAME, calls_of, serving
from train_cloud.receiver.server import SILENCE_SECONDS
from train_cloud.receiver_client import metrics
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vector import RemoteVectorEnv
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import WARNING
from train_cloud.run_folder.states import BRIDGES
from wire.messages import CloseCode, Drain, EnvErrorCode, Error, ErrorCode, Role

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


def test_a_pc_that_serves_and_is_silent_is_let_go_soon(receiver: ThreadedReceiver) -> None:
    with receiver.client(ping_interval=None) as client:
        client.begin(hello(REMOTE, **SERVES))
        began = time.monotonic()
        client.close_code()
        assert time.monotonic() - began < SILENCE_SECONDS / 2


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

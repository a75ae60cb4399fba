"""Whatever happens to the link: a step is done once, its answer is its own, and what is lost is said."""

import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.commands.serve_env import introduction
from bridge.serve_env.host import Host
from bridge.serve_env.offers import offers_of
from bridge.serve_env.serving import Serving
from tests.support import counting_env
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import REMOTE, TOKEN, ThreadedReceiver
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.run_folder.files import CALLS
from wire.messages import EnvErrorCode
from wire.pairing import Pairing

NAME = "tests.support.counting_env:Counting"


@contextmanager
def serving(port: int, most: int = 8) -> Iterator[None]:
    """A PC that has counting environments, in threads of this process."""
    stop = threading.Event()
    offers = offers_of([NAME], Path.cwd())
    pairing = Pairing("127.0.0.1", port, TOKEN, tls=False)
    one = Serving(pairing, introduction([NAME], most), lambda answer: Host(offers, most, answer), stop)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThreadedReceiver]:
    receiver = ThreadedReceiver(REMOTE, tmp_path_factory.mktemp("r"))
    yield receiver
    receiver.close()


def calls_of(receiver: ThreadedReceiver) -> Path:
    return receiver.store.path.parent / CALLS


def stepped(path: Path, steps: int, wrong: list[str]) -> None:
    """Make an environment of one's own and step it; what is not as it should be is told."""
    name = secrets.token_hex(4)
    env = _made(path, name)
    env.reset()
    for step in range(1, steps + 1):
        seen = env.step(0)[0]
        if seen.tolist() != [step]:
            wrong.append(f"step {step} of {name} is answered by {seen}")
    if counting_env.STEPS[name] != steps:
        wrong.append(f"{name} has made {counting_env.STEPS[name]} steps, not {steps}")
    env.close()


def _made(path: Path, name: str) -> RemoteEnv:
    return RemoteEnv(path, NAME, step_seconds=300.0, kwargs={"name": name})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_over_many_cuts_each_step_is_done_once_and_answered_in_order(receiver: ThreadedReceiver) -> None:
    cuts, chance, wrong = 25, random.Random(3), list[str]()
    with FaultProxy(("127.0.0.1", receiver.port)) as proxy, serving(proxy.port):
        clients = [threading.Thread(target=stepped, args=(calls_of(receiver), 1500, wrong)) for _ in range(4)]
        for client in clients:
            client.start()
        for number in range(cuts):
            before = proxy.accepted
            if number % 2:
                proxy.cut_after(chance.randrange(1, 20_000))
            else:
                proxy.cut()
            while proxy.accepted == before and any(client.is_alive() for client in clients):
                clients[0].join(0.01)
            proxy.resume()
        for client in clients:
            client.join()
    assert wrong == []


def test_an_environment_that_raises_says_so_and_disturbs_nobody(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port):
        one, other = _made(calls_of(receiver), "one"), _made(calls_of(receiver), "other")
        one.reset(), other.reset()
        with pytest.raises(RemoteEnvError, match="the wheel came off") as raised:
            one.step(1)
        assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.RAISED, False)
        assert other.step(0)[0].tolist() == [1.0]
        assert one.step(0)[0].tolist() == [1.0]


def test_what_cannot_travel_is_named(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port):
        env = _made(calls_of(receiver), "odd")
        env.reset()
        with pytest.raises(RemoteEnvError, match=r"under \[4\]\['thing'\] there is a builtins.object") as raised:
            env.step(3)
        assert raised.value.code == EnvErrorCode.CANNOT_TRAVEL


def test_an_environment_that_hangs_is_given_up_and_made_anew_while_others_go_on(receiver: ThreadedReceiver) -> None:
    counting_env.RELEASED.clear()
    with serving(receiver.port):
        hanging = RemoteEnv(calls_of(receiver), NAME, step_seconds=1.0)
        other = _made(calls_of(receiver), "going on")
        hanging.reset(), other.reset()
        with pytest.raises(RemoteEnvError, match="did not answer in time") as raised:
            hanging.step(2)
        assert raised.value.is_recoverable
        assert other.step(0)[0].tolist() == [1.0]
        assert hanging.reset()[0].tolist() == [0.0]
        assert hanging.step(0)[0].tolist() == [1.0]
        counting_env.RELEASED.set()


def test_another_process_of_the_pc_makes_the_environment_anew(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port):
        env = _made(calls_of(receiver), "before")
        env.reset()
        env.step(0)
    with serving(receiver.port):
        with pytest.raises(RemoteEnvError) as raised:
            env.step(0)
        # Said by the new process itself, at once.
        assert (raised.value.code, raised.value.is_recoverable) == (EnvErrorCode.UNKNOWN_CLIENT, True)
        assert env.reset()[0].tolist() == [0.0]
        assert env.step(0)[0].tolist() == [1.0]


def test_values_outside_their_space_are_refused_where_that_is_asked_for(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port):
        env = RemoteEnv(calls_of(receiver), NAME, outside="refuse")
        env.reset()
        with pytest.raises(RemoteEnvError, match="is not of its declared space") as raised:
            env.step(4)
        assert raised.value.code == EnvErrorCode.OUTSIDE_SPACE


def test_no_more_environments_are_made_than_the_pc_allows(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port, most=1):
        first = _made(calls_of(receiver), "first")
        with pytest.raises(RemoteEnvError, match="higher --num-envs") as raised:
            _made(calls_of(receiver), "second")
        assert raised.value.code == EnvErrorCode.FULL
        first.close()
        _made(calls_of(receiver), "second")


def test_what_could_not_be_made_takes_no_room(receiver: ThreadedReceiver) -> None:
    with serving(receiver.port, most=1):
        # Whoever looks at the error holds the environment that it is of.
        with pytest.raises(RemoteEnvError, match="unexpected keyword argument 'colour'") as refused:
            RemoteEnv(calls_of(receiver), NAME, kwargs={"colour": "red"})
        made = _made(calls_of(receiver), "made")
        assert made.reset()[0].tolist() == [0.0]
        assert refused.value.code == EnvErrorCode.RAISED
        made.close()

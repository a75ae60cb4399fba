"""A Gymnasium environment of a PC behind a real receiver, stepped over real sockets."""

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from bridge.serve_env.host import Host
from bridge.serve_env.offers import offers_of
from bridge.serve_env.serving import Serving
from tests.experience.test_values import same
from tests.support.receivers import REMOTE, ThreadedReceiver
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv
from train_cloud.run_folder.files import CALLS
from wire.messages import Hello, Role

NAMES = ["Pendulum-v1", "CartPole-v1", "Acrobot-v1"]


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("r")
    receiver = ThreadedReceiver(REMOTE, folder)
    stop = threading.Event()
    hello = Hello("pc", secrets.token_hex(16), Role.SERVE_ENV, "", "", False, 8, 0, 0, "test", environments=(*NAMES,))
    offers = offers_of(NAMES, folder)
    serving = Serving(receiver.pairing, hello, lambda answer: Host(offers, 8, answer), stop)
    thread = threading.Thread(target=serving.run)
    thread.start()
    yield folder / CALLS
    stop.set()
    thread.join()
    receiver.close()


def test_it_steps_as_the_environment_itself_would(socket: Path) -> None:
    env, own = RemoteEnv(socket, "Pendulum-v1"), gymnasium.make("Pendulum-v1")
    assert env.observation_space == own.observation_space
    assert np.array_equal(env.reset(seed=3)[0], own.reset(seed=3)[0])
    own.action_space.seed(1)
    for _ in range(50):
        action = own.action_space.sample()
        (seen, reward, *rest), (own_seen, own_reward, *own_rest) = env.step(action), own.step(action)
        assert seen.tobytes() == own_seen.tobytes()
        assert (reward, type(reward), rest) == (own_reward, type(own_reward), own_rest)
    env.close()


MODES = [mode.value for mode in AutoresetMode]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1"])
def test_a_vector_steps_as_gymnasiums_own_would(socket: Path, name: str, mode: str) -> None:
    remote = RemoteVectorEnv(socket, name, 3, autoreset_mode=mode)
    own = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make(name)] * 3, autoreset_mode=AutoresetMode(mode))
    assert (remote.observation_space, remote.action_space) == (own.observation_space, own.action_space)
    assert remote.metadata["autoreset_mode"] == own.metadata["autoreset_mode"]
    assert same(list(remote.reset(seed=3)), list(own.reset(seed=3)))
    own.action_space.seed(1)
    ended = 0
    for _ in range(200):
        actions = own.action_space.sample()
        step, own_step = remote.step(actions), own.step(actions)
        assert same(step, own_step)
        over = step[2] | step[3]
        ended += int(over.sum())
        if mode == "Disabled" and over.any():
            options = {"reset_mask": over}
            assert same(list(remote.reset(options=dict(options))), list(own.reset(options=dict(options))))
    assert ended > 3 or name == "Acrobot-v1"
    remote.close()

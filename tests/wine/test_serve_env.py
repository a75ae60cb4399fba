"""A Windows PC serves an environment of its own, in NumPy alone, to a receiver on this machine; its link is cut."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.remote_pc import receiver_here
from tests.support.windows import Windows, WindowsProcess, windows_path
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.vector import RemoteVectorEnv
from wire.pairing import format_pairing

pytestmark = [pytest.mark.wine, pytest.mark.timeout(3600)]

NAME = "my_game:MyEnv"
MY_GAME = """
import sys
import gymnasium
import numpy as np
from gymnasium import spaces

class MyEnv(gymnasium.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.left = np.zeros(2, np.float32), 20
        return self.state, {"platform": sys.platform}

    def step(self, action):
        self.state += np.array([0.1, action[0]], np.float32)
        self.left -= 1
        return self.state, float(self.state[1]), False, self.left == 0, {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a person has code, with a space in its name."""
    folder = tmp_path / "Driver One"
    folder.mkdir()
    (folder / "my_game.py").write_text(MY_GAME, encoding="utf-8")
    return folder


@pytest.fixture
def served(
    windows: Windows, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, FaultProxy, WindowsProcess]]:
    """The receiver's socket for calls, the link, and the bridge in Windows."""
    with (
        receiver_here(tmp_path_factory.mktemp("r")) as (receiver, calls),
        FaultProxy(("127.0.0.1", receiver.port)) as proxy,
    ):
        environment = {
            "AC_BRIDGE_URI": format_pairing(replace(receiver.pairing, port=proxy.port)),
            "AC_BRIDGE_CONFIG_DIR": windows_path(folder),
        }
        command = ("-m", "bridge", "serve-env", "--env", NAME, "--num-envs", "4", "--processes", "2")
        with windows.start(*command, folder=folder, **environment) as bridge:
            yield calls, proxy, bridge


def test_an_environment_in_windows_is_stepped_from_here(served: tuple[Path, FaultProxy, WindowsProcess]) -> None:
    calls, proxy, bridge = served
    env = RemoteEnv(calls, NAME, step_seconds=300.0)
    seen, info = env.reset(seed=1)
    assert info == {"platform": "win32"}, bridge.errors
    expected = np.zeros(2, np.float32)
    for number in range(20):
        if number == 10:
            proxy.cut()
        expected += np.array([0.1, 0.5], np.float32)
        seen, reward, terminated, truncated, _ = env.step(np.array([0.5], np.float32))
        assert seen.tobytes() == expected.tobytes()
        assert (reward, terminated, truncated) == (float(expected[1]), False, number == 19)
    assert proxy.accepted == 2
    env.close()


def test_a_vector_in_two_processes_of_windows_begins_episodes_anew(
    served: tuple[Path, FaultProxy, WindowsProcess],
) -> None:
    calls, _, bridge = served
    envs = RemoteVectorEnv(calls, NAME, 4, autoreset_mode="SameStep")
    envs.reset()
    for _ in range(20):
        seen, _, _, truncated, infos = envs.step(np.zeros((4, 1), np.float32))
    assert truncated.all(), bridge.errors
    assert not seen.any()
    assert [final[0].item() for final in infos["final_obs"]] == pytest.approx([2.0] * 4)
    envs.close()

"""The checkers of Gymnasium and of stable-baselines3 find nothing, through a real receiver and socket."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.toy_envs import TOYS, Camera
from train_cloud.remote.env import RemoteEnv

CLASSIC = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1")
BOX2D = ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3", "CarRacing-v3")
CAMERA, ECHO = "tests.support.toy_envs:Camera", "tests.support.toy_envs:Echo"
REWARDS_OF_NUMPY = "The reward returned by `step()` must be a float"
"""BipedalWalker's are NumPy's float32, here as on the PC."""


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    with remote_pc([*CLASSIC, *BOX2D, CAMERA, ECHO], tmp_path_factory.mktemp("r")) as running:
        yield running


def made(pc: RemotePc, name: str, **kwargs: Any) -> RemoteEnv:
    if name in BOX2D:
        pytest.importorskip("Box2D", reason="Box2D has no wheel for this Python")
    return RemoteEnv(pc.calls, name, render_mode="rgb_array", outside="refuse", kwargs=kwargs)


@pytest.mark.filterwarnings("ignore:.*space m.*imum value is:UserWarning")
@pytest.mark.filterwarnings("ignore:.*alternative render modes:UserWarning")
@pytest.mark.parametrize("name", [*CLASSIC, *BOX2D, CAMERA])
def test_the_checker_of_gymnasium_finds_nothing(pc: RemotePc, name: str) -> None:
    check_env(made(pc, name))


@pytest.mark.parametrize("name", [*CLASSIC, *BOX2D, CAMERA])
def test_the_checker_of_sb3_finds_what_it_finds_in_the_environment_itself(pc: RemotePc, name: str) -> None:
    env = made(pc, name)
    own = Camera("rgb_array") if name == CAMERA else gymnasium.make(name, render_mode="rgb_array")
    assert found_by_sb3(env) == found_by_sb3(own) == (REWARDS_OF_NUMPY if "Bipedal" in name else "nothing")
    env.close()


def found_by_sb3(env: gymnasium.Env[Any, Any]) -> str:
    try:
        check_env_of_sb3(env, warn=False, skip_render_check=False)
    except AssertionError as error:
        return str(error)
    return "nothing"


@pytest.mark.filterwarnings("ignore:.*alternative render modes:UserWarning")
@pytest.mark.filterwarnings("ignore:.*not (a|an) .*observation space:UserWarning")
@pytest.mark.parametrize("toy", TOYS)
def test_the_checker_of_gymnasium_finds_nothing_in_any_kind_of_space(pc: RemotePc, toy: str) -> None:
    check_env(made(pc, ECHO, key=toy))


def test_all_of_them_are_there() -> None:
    entries = {id: str(spec.entry_point) for id, spec in gymnasium.registry.items()}
    known = {id for id, entry in entries.items() if "classic_control" in entry or "box2d" in entry}
    assert known - {"CartPole-v0"} == {*CLASSIC, *BOX2D}

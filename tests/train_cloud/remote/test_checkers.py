"""The checkers of Gymnasium and of stable-baselines3 find nothing, through a real receiver and socket."""

import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import gymnasium
import pygame
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

from tests.support.remote_pc import RemotePc, remote_pc
from tests.support.toy_envs import TOYS, Camera, Echo
from train_cloud.remote.env import RemoteEnv
from train_cloud.remote.errors import RemoteEnvError

CLASSIC = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1")
BOX2D = ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "BipedalWalkerHardcore-v3", "CarRacing-v3")
CAMERA, ECHO = "tests.support.toy_envs:Camera", "tests.support.toy_envs:Echo"
ROOM, RAW_ROOM = "examples.grids:empty_room", "minigrid:MiniGrid-Empty-5x5-v0"
"""MiniGrid's, a third party's: made fit to travel, and as it is."""
ALL: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in (*CLASSIC, *BOX2D, CAMERA, ROOM)]
ALL += [("CarRacing-v3", {"continuous": False}), ("LunarLander-v3", {"continuous": True, "enable_wind": True})]
REWARDS_OF_NUMPY = "The reward returned by `step()` must be a float"
"""BipedalWalker's are NumPy's float32, here as on the PC."""

TOYS_OF_ANY_SPACE = [(ECHO, {"key": toy}) for toy in TOYS]


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemotePc]:
    rooms = []
    with pytest.MonkeyPatch.context() as patch:
        # The checker renders for people, too, who have no screen here.
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        # The PC's environments are in this process; one that closes late would take the screen from ours.
        patch.setattr(pygame, "quit", lambda: None)
        patch.setattr(pygame.display, "quit", lambda: None)
        try:
            import minigrid  # noqa: F401 - registers its environments

            rooms = [ROOM, RAW_ROOM]
        except ImportError:
            pass
        with remote_pc([*CLASSIC, *BOX2D, CAMERA, ECHO, *rooms], tmp_path_factory.mktemp("r")) as running:
            yield running


def remote(pc: RemotePc, name: str, render_mode: str | None = "rgb_array", **kwargs: Any) -> RemoteEnv:
    if name in BOX2D:
        pytest.importorskip("Box2D", reason="Box2D has no wheel for this Python")
    if name in (ROOM, RAW_ROOM):
        pytest.importorskip("minigrid", reason="what MiniGrid draws with has no wheel for this Python")
    return RemoteEnv(pc.calls, name, render_mode=render_mode, outside="refuse", kwargs=kwargs)


def own(name: str, render_mode: str | None = "rgb_array", **kwargs: Any) -> gymnasium.Env[Any, Any]:
    if name in (CAMERA, ECHO):
        return (Camera if name == CAMERA else Echo)(render_mode=render_mode, **kwargs)
    if name == ROOM:
        from examples.grids import empty_room

        return empty_room(render_mode=render_mode)
    return gymnasium.make(name, render_mode=render_mode, **kwargs).unwrapped


def found_by_gymnasium(make: Any) -> set[str]:
    """What it warns of, in every render mode; it raises when something is wrong."""
    gymnasium.registry.pop("Tried-v0", None)
    gymnasium.register("Tried-v0", make, disable_env_checker=True, order_enforce=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        env = gymnasium.make("Tried-v0", render_mode="rgb_array").unwrapped
        check_env(env)
        env.close()
    # It leaves some of those that it makes open.
    warned = [one for one in said if not issubclass(one.category, ResourceWarning)]
    return {re.sub(r"\x1b\[\d*m", "", str(one.message)) for one in warned}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kwargs"), ALL + TOYS_OF_ANY_SPACE, ids=str)
def test_the_checker_of_gymnasium_finds_what_it_finds_in_the_environment_itself(
    pc: RemotePc, name: str, kwargs: dict[str, Any]
) -> None:
    found = found_by_gymnasium(partial(remote, pc, name, **kwargs))
    assert found == found_by_gymnasium(partial(own, name, **kwargs))


@pytest.mark.parametrize(("name", "kwargs"), ALL, ids=str)
def test_the_checker_of_sb3_finds_what_it_finds_in_the_environment_itself(
    pc: RemotePc, name: str, kwargs: dict[str, Any]
) -> None:
    env = remote(pc, name, **kwargs)
    expected = REWARDS_OF_NUMPY if "Bipedal" in name else "nothing"
    assert found_by_sb3(env) == found_by_sb3(own(name, **kwargs)) == expected
    env.close()


def found_by_sb3(env: gymnasium.Env[Any, Any]) -> str:
    try:
        check_env_of_sb3(env, warn=False, skip_render_check=False)
    except AssertionError as error:
        return str(error)
    return "nothing"


def test_a_space_that_only_a_third_party_knows_is_refused_in_a_sentence(pc: RemotePc) -> None:
    with pytest.raises(RemoteEnvError, match=r"A MissionSpace is none of Gymnasium's own spaces; describe it by those"):
        remote(pc, RAW_ROOM)


def test_all_of_them_are_there() -> None:
    entries = {id: str(spec.entry_point) for id, spec in gymnasium.registry.items()}
    known = {id for id, entry in entries.items() if "classic_control" in entry or "box2d" in entry}
    assert known - {"CartPole-v0"} == {*CLASSIC, *BOX2D}

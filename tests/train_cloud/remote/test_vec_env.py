"""stable-baselines3 finds on a PC behind a real receiver what it would find in its own DummyVecEnv."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.support.remote_pc import RemotePc, remote_pc
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.remote.vec_env import RemoteVecEnv

NAMES = ("CartPole-v1", "Pendulum-v1", f"{__name__}:Talking")
CAMERA = "tests.support.toy_envs:Camera"


class Talking(gymnasium.Env[Any, Any]):
    """Ends every third step, in turns terminated and truncated; its infos hold what infos may."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium says it
    observation_space = spaces.Dict({"place": spaces.Box(0, 99, (2,), np.float32), "gear": spaces.Discrete(3)})
    action_space = spaces.Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self._steps, self._episodes = render_mode, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._episodes += 1
        return self._seen(), {"options": str(options), "seed": str(seed), "drawn": float(self.np_random.random())}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        over = self._steps % 3 == 0
        info = {"name": "step", "_hidden": self._steps, "deep": {"lap": np.arange(3) + self._steps}, "none": None}
        return self._seen(), float(action), over and self._episodes % 2 == 0, over and self._episodes % 3 != 0, info

    def render(self) -> Any:
        return np.full((4, 4, 3), self._steps, np.uint8)

    def _seen(self) -> dict[str, Any]:
        return {"place": np.array([self._steps, self._episodes], np.float32), "gear": np.int64(self._steps % 3)}


@pytest.fixture(scope="module")
def pc(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with remote_pc([*NAMES, CAMERA, "CarRacing-v3"], tmp_path_factory.mktemp("r")) as running:
        yield running


def as_lists(value: Any) -> Any:
    """The value without NumPy: in an info a vector makes Python's numbers NumPy's."""
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_lists(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@pytest.mark.parametrize("name", NAMES)
def test_it_steps_as_a_vec_env_of_its_own_would(pc: RemotePc, name: str) -> None:
    remote = RemoteVecEnv(pc.calls, name, 3)
    own = DummyVecEnv([Talking if name == NAMES[2] else (lambda: gymnasium.make(name))] * 3)
    assert (remote.observation_space, remote.action_space) == (own.observation_space, own.action_space)
    for env in (remote, own):
        env.seed(5)
        env.set_options({"far": True})
    assert as_lists(remote.reset()) == as_lists(own.reset())
    assert as_lists(remote.reset_infos) == as_lists(own.reset_infos)
    own.action_space.seed(1)
    ended = 0
    for _ in range(210):
        actions = np.array([own.action_space.sample() for _ in range(3)])
        (seen, rewards, over, infos), (own_seen, own_rewards, own_over, own_infos) = (
            remote.step(actions),
            own.step(actions),
        )
        assert as_lists(seen) == as_lists(own_seen)
        assert (rewards.dtype, rewards.tolist()) == (own_rewards.dtype, own_rewards.tolist())
        assert over.tolist() == own_over.tolist()
        assert as_lists(infos) == as_lists(own_infos)
        if name == NAMES[2]:
            assert as_lists(remote.reset_infos) == as_lists(own.reset_infos)
        ended += int(over.sum())
    assert ended > 3 or name == "Pendulum-v1"
    remote.close()


def test_what_the_pc_does_not_tell_is_refused_in_a_sentence(pc: RemotePc) -> None:
    env = RemoteVecEnv(pc.calls, NAMES[2], 2, render_mode="rgb_array")
    assert env.get_attr("render_mode") == ["rgb_array", "rgb_array"]
    assert env.get_attr("action_space", 0) == [spaces.Discrete(3)]
    assert not env.has_attr("gravity")
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False, False]
    with pytest.raises(AttributeError, match="'gravity' is not known here"):
        env.get_attr("gravity")
    with pytest.raises(AttributeError, match="'gravity' cannot be set"):
        env.set_attr("gravity", 1.0)
    with pytest.raises(AttributeError, match="'compute_reward' cannot be called"):
        env.env_method("compute_reward", 1)
    env.set_options([{"far": True}, {"far": False}])
    with pytest.raises(ValueError, match="the same options"):
        env.reset()
    env.set_options()
    env.reset()
    env.step(np.array([1, 1]))
    picture = env.render()
    assert picture is not None
    assert picture.shape == (8, 4, 3)
    assert picture.max() == 1
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "name"), [("MlpPolicy", "CartPole-v1"), ("MultiInputPolicy", CAMERA), ("CnnPolicy", "CarRacing-v3")]
)
def test_ppo_learns_over_it(pc: RemotePc, policy: str, name: str) -> None:
    if name == "CarRacing-v3":
        pytest.importorskip("Box2D", reason="Box2D has no wheel for this Python")
    env = RemoteVecEnv(pc.calls, name, 2)
    model = PPO(policy, env, n_steps=16, batch_size=32, n_epochs=1, seed=1, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64
    env.close()


@pytest.mark.slow
def test_a_pc_that_is_lost_is_a_typed_error_and_the_next_reset_begins_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with remote_pc(["CartPole-v1"], tmp_path_factory.mktemp("r")) as pc:
        env = RemoteVecEnv(pc.calls, "CartPole-v1", 2)
        model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=1, device="cpu")
        model.learn(32)
        pc.restart()
        with pytest.raises(RemoteEnvError) as raised:
            model.learn(32, reset_num_timesteps=False)
        assert raised.value.is_recoverable
        # Set anew, it begins with a reset.
        model.set_env(env)
        model.learn(32, reset_num_timesteps=False)
        assert model.num_timesteps >= 64
        env.close()

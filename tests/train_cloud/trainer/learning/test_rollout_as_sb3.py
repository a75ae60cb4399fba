"""What PPO learns from the stream is what stable-baselines3 collects by itself, of the same steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from experience.batches import Batch
from experience.codec import decode_batch
from experience.recorder import Recorder
from experience.rows import to_rows
from racing.driving import Step
from tests.support.learners import REMOTE
from tests.support.runs import run_config
from tests.support.toys import Reach, stacked
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.on_policy import PpoLearner
from train_cloud.trainer.learning.rollout import rollout_buffer

CARS, STEPS = 3, 50


class Ending(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Writes down what happens; every other episode is terminated where it would have been truncated."""

    def __init__(self, env: Reach) -> None:
        super().__init__(env)
        self.told: list[tuple[Any, Any, float, Any, bool, bool]] = []
        self._ended = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self._seen, info = self.env.reset(**options)
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        following, reward, _, late, info = self.env.step(action)
        self._ended += late
        over = late and self._ended % 2 == 0
        self.told.append((self._seen, action, float(reward), following, over, late and not over))
        self._seen = following
        return following, float(reward), over, late and not over, info


@dataclass
class Kept:
    """A sink."""

    blobs: list[bytes]
    steps: int = 0

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        assert steps_by_car is not None
        assert steps == sum(steps_by_car.values())
        self.blobs.append(blob)
        self.steps += steps_by_car[0]
        return len(self.blobs)

    def steps_of_car(self, _car: int) -> int:
        return self.steps


def recorded(envs: list[Ending], toy: Reach) -> list[Batch]:
    """What the environments have told, as the actor's recorder would hand it on, in batches of 8 steps."""
    sink = Kept([])
    recorder = Recorder(sink, toy.spaces.layout, CARS, flush_steps=8 * CARS)
    led_to: Any = None
    for lived in zip(*(env.told for env in envs), strict=True):
        seen, actions, rewards, following, over, late = zip(*lived, strict=True)
        space = toy.spaces.observation.space
        rows = to_rows(space, stacked(list(seen)))
        # As in the actor: the very array that the step before led to, where nobody began anew.
        rows = led_to if led_to is not None and np.array_equal(rows, led_to) else rows
        led_to = to_rows(space, stacked(list(following)))
        step = Step(
            observation=led_to,
            next_observation=led_to,
            action=to_rows(toy.spaces.action.space, np.stack(actions)),
            reward=np.array(rewards, np.float32),
            terminated=np.array(over),
            truncated=np.array(late),
            action_age=np.zeros(CARS, np.float32),
            off_period=False,
            laps=(),
            episodes=(),
        )
        while not recorder.ready():
            pass
        assert recorder.record(rows, step, 1)
    recorder.close()
    return [decode_batch(blob, toy.spaces.layout) for blob in sink.blobs]


class Silent(BaseCallback):
    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(("seen", "moved"), [("vector", "discrete"), ("vector", "box"), ("dict", "discrete")])
def test_a_rollout_is_the_one_that_stable_baselines3_collects(seen: str, moved: str) -> None:
    toy = Reach(seen, moved)
    config = run_config(
        method="ppo",
        environment=REMOTE,
        network=[8],
        batch_size=25,
        gamma=0.9,
        ppo={"rollout_steps": CARS * STEPS, "gae_lambda": 0.8},
    )
    learner = make_learner(config, toy.environment)
    assert isinstance(learner, PpoLearner)
    learner.policy(1)
    envs = [Ending(_seeded(Reach(seen, moved), car)) for car in range(CARS)]

    class Viewed(gymnasium.Wrapper[Any, Any, Any, Any]):
        """Shows what the library knows, and takes what it chooses."""

        def __init__(self, env: Ending) -> None:
            super().__init__(env)
            self.observation_space = learner.view.spaces.observation.space
            self.action_space = learner.view.spaces.action.space

        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = self.env.reset(**options)
            return self._view(observation), info

        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            observation, *rest = self.env.step(learner.view.done(np.asarray(action)[None])[0])
            return self._view(observation), *rest

        def _view(self, observation: Any) -> Any:
            batched = learner.view.observed(stacked([observation]))
            return {key: part[0] for key, part in batched.items()} if isinstance(batched, dict) else batched[0]

    theirs = PPO(
        learner.view.policy,
        DummyVecEnv([lambda env=env: Viewed(env) for env in envs]),  # type: ignore[misc]  # no type for this
        n_steps=STEPS,
        batch_size=25,
        gamma=0.9,
        gae_lambda=0.8,
        policy_kwargs={"net_arch": {"pi": [8], "vf": [8]}},
        device="cpu",
    )
    theirs.policy.load_state_dict(learner.algorithm.policy.state_dict())
    _, callback = theirs._setup_learn(CARS * STEPS, Silent())
    theirs.collect_rollouts(theirs.env, callback, theirs.rollout_buffer, STEPS)  # type: ignore[arg-type]  # of the same kind

    batches = recorded(envs, toy)
    assert len(batches) == 7
    for batch in batches:
        learner.take(batch)
    assert learner.figures()[1:] == (CARS * STEPS, 0)
    ours = rollout_buffer(learner.algorithm, learner.view, learner._runs)
    wanted = theirs.rollout_buffer
    # Theirs are told step by step, ours car by car in each batch.
    cars = [np.repeat(batch.run_cars, batch.run_lengths) for batch in batches]
    order = np.concatenate([np.flatnonzero(np.concatenate(cars) == car) for car in range(CARS)])
    for name, tolerance in (("values", 1e-6), ("advantages", 1e-4), ("returns", 1e-4), ("log_probs", 1e-5)):
        mine, other = getattr(ours, name)[order, 0], getattr(wanted, name).T.ravel()
        unclipped = np.ones(len(mine), bool)
        if name == "log_probs" and moved == "box":
            # What lay beyond a bound was applied as the bound, and is as likely as all that lies beyond it.
            unclipped = np.abs(wanted.actions[:, :, 0].T.ravel()) < 1.99
            assert 0 < unclipped.sum() < len(mine)
        assert np.allclose(mine[unclipped], other[unclipped], atol=tolerance), name
    applied = np.clip(wanted.actions, -2.0, 2.0) if moved == "box" else wanted.actions
    assert np.array_equal(ours.actions[order, 0].ravel(), applied.transpose(1, 0, 2).ravel())
    for key in ["camera/front", "at"] if seen == "dict" else [None]:
        mine, other = (side.observations if key is None else side.observations[key] for side in (ours, wanted))
        assert np.array_equal(mine[order, 0], np.swapaxes(other, 0, 1).reshape(mine[:, 0].shape))


def _seeded(toy: Reach, seed: int) -> Reach:
    toy._random = np.random.default_rng(seed)
    return toy

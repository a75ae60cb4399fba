"""Runs learn over a PC that is stepped: real receiver, trainer and PC, whose link is cut and which are killed."""

import io
import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO

from bridge.driving.environments import driven_environment
from experience.batches import Batch
from experience.codec import decode_batch
from experience.environment import Environment
from experience.rows import from_rows, to_rows
from experience.spaces import Spaces, SpaceSpec
from tests.support.logged_env import FILMED, Filmed, shown
from tests.support.moto_s3 import MotoS3, s3
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site
from tests.support.skill import mean_return
from tests.support.toys import stacked
from tests.support.waiting import wait_until
from tests.train_cloud.remote.test_remote_run import check_chains
from train_cloud.run_folder.keys import MODEL, POLICY
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.learning.learners import make_learner
from train_cloud.trainer.learning.off_policy import OffPolicyLearner
from train_cloud.trainer.learning.replay import digest_of, insert
from train_cloud.trainer.pace import pace_of
from train_cloud.trainer.saving.manifest import find_newest

__all__ = ["s3"]

pytestmark = pytest.mark.slow


def run_to_its_end(site: Site, seconds: float, cut_at: int | None = None, kill_at: int | None = None) -> Counters:
    """The counters of the finished run; the PC's link is cut and the trainer killed when it has so many steps."""
    chosen = site.config.environment
    site.start_receiver()
    site.wait_for_receiver()
    site.start(BRIDGE, "bridge", "serve-env", "--env", chosen.id, "--num-envs", chosen.num_envs)
    site.start_trainer()
    if cut_at is not None:
        wait_until(lambda: site.consumed_steps() >= cut_at, "the link is to be cut", seconds, 0.05)
        site.proxy.cut()
    if kill_at is not None:
        wait_until(lambda: site.consumed_steps() >= kill_at, "the trainer is to be killed", seconds, 0.05)
        site.kill(TRAINER)
        saved = site.checkpoint_counters()
        site.start_trainer()
        wait_until(lambda: "event=resuming" in site.log(TRAINER, present_life=True), "it goes on", 60.0)
        assert f"resuming steps={saved.steps} updates={saved.updates} " in site.log(TRAINER, present_life=True)
    assert site.wait_for_end(TRAINER, seconds) == 0
    assert site.terminate(RECEIVER) == 0
    counters = site.checkpoint_counters()
    check_counters(site, counters)
    assert counters.resumes == (0 if kill_at is None else 1)
    return counters


def batches_of(site: Site, counters: Counters) -> list[tuple[str, Batch]]:
    """All that was recorded, in that order, with its stream: one for each life of the trainer."""
    lives, saved = list(counters.consumed), site.batches_in_bucket()
    return [(life, decode_batch(saved[life, number])) for life in lives for one, number in sorted(saved) if one == life]


def check_counters(site: Site, counters: Counters) -> None:
    """Each stored step is counted once, with its updates, episodes and versions."""
    recorded, total = batches_of(site, counters), site.config.total_timesteps
    stored = [batch for _, batch in recorded]
    assert counters.steps == sum(batch.steps for batch in stored)
    assert 0 <= counters.steps - total < site.config.environment.num_envs
    assert counters.updates == pace_of(site.config, None, 0, 0).asked(total)
    ends = Counter(episode.reason for batch in stored for episode in batch.episodes)
    assert (counters.episodes, counters.ends) == (ends.total(), dict(ends))
    versions = [batch.policy_versions for batch in stored]
    # A batch is told car by car; each is newer than the ones before, in whichever life.
    assert all(before.max() <= after.min() for before, after in pairwise(versions))
    assert versions[0].min() > 0
    assert versions[-1].max() <= counters.weights_version
    document = json.loads(site.objects.get("metrics.json")[0])
    assert document["losses"]
    assert all(math.isfinite(loss) for loss in document["losses"].values())
    assert document["waits_for"] is None
    check_chains(recorded)


def file_of(site: Site, name: str) -> bytes:
    """Of the newest checkpoint."""
    found = find_newest(site.objects).checkpoint
    assert found is not None
    return found.files[name]


def return_of(site: Site, name: str) -> float:
    """Of the policy that the run ended with."""
    return mean_return(name, driven_environment(name, gymnasium.make(name)).policy(file_of(site, POLICY)))


def remote(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "gymnasium", "id": name, "source": "remote"} | more


PENDULUM: dict[str, Any] = {"environment": remote("Pendulum-v1"), "batch_size": 256, "network": [64, 64]}


def test_pendulum_is_learned_by_sac(tmp_path: Path, s3: MotoS3) -> None:
    settings = PENDULUM | {
        "total_timesteps": 10_000,
        "learning_starts": 500,
        "updates_per_step": 1.0,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "gamma": 0.95,
        "save_frequency": 2_000,
    }
    with Site(tmp_path / "run", s3, **settings) as site:
        run_to_its_end(site, 240.0, cut_at=1_500, kill_at=3_000)
        assert return_of(site, "Pendulum-v1") >= -250.0


def test_cartpole_is_learned_by_ppo(tmp_path: Path, s3: MotoS3) -> None:
    settings: dict[str, Any] = {
        "environment": remote("CartPole-v1", num_envs=8),
        "method": "ppo",
        "ppo": {"rollout_steps": 256, "epochs": 20, "gae_lambda": 0.8},
        "batch_size": 256,
        "learning_rate": 1e-3,
        "gamma": 0.98,
        "network": [64, 64],
        "total_timesteps": 60_000,
        "save_frequency": 5_000,
    }
    with Site(tmp_path / "run", s3, **settings) as site:
        run_to_its_end(site, 300.0, cut_at=10_000, kill_at=20_000)
        assert return_of(site, "CartPole-v1") >= 475.0


@pytest.mark.parametrize("method", ["dqn", "tqc", "crossq"])
def test_other_methods_train_and_go_on(method: str, tmp_path: Path, s3: MotoS3) -> None:
    settings = PENDULUM | {"environment": remote("CartPole-v1", num_envs=2)} if method == "dqn" else PENDULUM
    more = {"method": method, "total_timesteps": 1_500, "updates_per_step": 0.25, "learning_starts": 300}
    with Site(tmp_path / "run", s3, **settings | more) as site:
        run_to_its_end(site, 120.0, cut_at=400, kill_at=800)
        assert -2000.0 < return_of(site, site.config.environment.id or "") < 501.0


def test_ppo_sees_car_racing_by_convolutions(tmp_path: Path, s3: MotoS3) -> None:
    name = "CarRacing-v3"
    settings: dict[str, Any] = {
        "environment": remote(name, num_envs=2, kwargs={"continuous": False}),
        "method": "ppo",
        "ppo": {"rollout_steps": 64, "epochs": 2},
        "batch_size": 32,
        "network": [16],
        "total_timesteps": 400,
        "save_frequency": 100,
    }
    with Site(tmp_path / "run", s3, **settings) as site:
        run_to_its_end(site, 240.0, cut_at=100, kill_at=200)
        opened = PPO.load(io.BytesIO(file_of(site, MODEL)), device="cpu")
        assert type(opened.policy).__name__ == "ActorCriticCnnPolicy"
        assert opened.observation_space.shape == (3, 96, 96)
        assert len(file_of(site, POLICY)) > 100_000


@pytest.mark.parametrize("method", ["ppo", "sac"])
def test_what_is_learned_from_is_what_the_environment_showed(method: str, tmp_path: Path, s3: MotoS3) -> None:
    name, log = "tests.support.logged_env:Filmed", tmp_path / "steps.jsonl"
    kwargs = {"log": str(log), "discrete": method == "ppo"}
    settings: dict[str, Any] = {
        "environment": remote(name, num_envs=2, kwargs=kwargs),
        "method": method,
        "ppo": {"rollout_steps": 64, "epochs": 2},
        "batch_size": 32,
        "network": [16],
        "buffer_size": 1_000,
        "total_timesteps": 450,
        "learning_starts": 100,
        "updates_per_step": 0.1,
        "save_frequency": 100,
    }
    with Site(tmp_path / "run", s3, **settings) as site:
        counters = run_to_its_end(site, 240.0, cut_at=100, kill_at=200)
        told = {(life, after): (before, *rest) for life, before, after, *rest in map(json.loads, log.open())}
        spaces = Spaces(SpaceSpec(FILMED), SpaceSpec(Filmed(str(log), method == "ppo").action_space))
        seen = set()
        learner = make_learner(site.config, Environment(name, spaces))
        for _, batch in batches_of(site, counters):
            before = from_rows(FILMED, batch.current_observations())["line"].astype(int)
            after = from_rows(FILMED, batch.next_observations())["line"].astype(int)
            led_to = [(int(life), int(count)) for life, count in after]
            seen |= set(led_to)
            columns = zip(before[:, 1], batch.actions, batch.terminated, batch.truncated, strict=True)
            for step, (at, action, terminated, truncated) in zip(led_to, columns, strict=True):
                count, chosen, over, late = told[step]
                assert (count, chosen, over) == (at, action.tolist(), terminated)
                # What was cut off is, for whoever learns, an episode that goes on elsewhere.
                assert truncated or not late
            showed = [stacked([shown(*line) for line in lines.tolist()]) for lines in (before, after)]
            assert np.array_equal(to_rows(FILMED, showed[0]), batch.current_observations())
            assert np.array_equal(to_rows(FILMED, showed[1]), batch.next_observations())
            if isinstance(learner, OffPolicyLearner):
                views = [learner.view.observed(values) for values in showed]
                actions = learner.algorithm.policy.scale_action(batch.actions)
                insert(learner.replay, views[0], actions, batch.rewards, views[1], batch.terminated.astype("f4"))
        assert len(seen) == counters.steps, "each step once"
        if isinstance(learner, OffPolicyLearner):
            assert digest_of(learner.replay) == counters.replay_digest

"""The environment passes the checks of the libraries that will use it, and drives several cars as it drives one."""

import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

from racing.clock import RealTimeClock
from racing.driving import VectorDriving
from racing.env import RacingEnv
from racing.simulator import SimulatedCar
from racing.task import ACTION_SIZE, OBSERVATION_SIZE, Task, TaskConfig, on_action_grid
from racing.track import Track

TRACK = Track.generate(7, 1200.0)


@pytest.mark.slow
def test_gymnasium_finds_nothing_to_complain_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(render|spec).*")
        gymnasium_check(RacingEnv(TRACK), skip_render_check=True)


def test_stable_baselines3_finds_nothing_to_complain_about() -> None:
    sb3_checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="needs the cloud extra")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_checker.check_env(RacingEnv(TRACK))


def test_a_seed_repeats_an_episode_bit_by_bit() -> None:
    env, actions = (
        RacingEnv(TRACK),
        np.random.default_rng(0).uniform(-1, 1, (50, ACTION_SIZE)).astype(np.float32),
    )

    def episode(seed: int) -> bytes:
        rows = [env.reset(seed=seed)[0]]
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            rows += [observation, np.array([reward], np.float32)]
            if terminated or truncated:
                break
        return b"".join(row.tobytes() for row in rows)

    assert episode(3) == episode(3)
    assert episode(3) != episode(4)


def test_the_action_applied_is_the_one_on_the_grid() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, count=2, seed=1), Task(TRACK))
    driving.reset()
    action = np.array([[0.123456, 0.9], [-0.5, 1.0]], np.float32)
    assert np.array_equal(driving.step(action).action, on_action_grid(action))


def test_cars_that_end_start_again_while_the_others_go_on() -> None:
    config = TaskConfig(max_episode_seconds=2.0)
    driving = VectorDriving(SimulatedCar(TRACK, count=4, seed=2), Task(TRACK, config))
    observation = driving.reset()
    assert observation.shape == (4, OBSERVATION_SIZE)
    action = np.zeros((4, ACTION_SIZE), np.float32)
    action[0, 0] = 1.0
    for _ in range(60):
        step = driving.step(action)
        ended = step.terminated | step.truncated
        assert np.array_equal(step.observation[~ended], step.next_observation[~ended])
        assert sorted(episode.car for episode in step.episodes) == np.flatnonzero(ended).tolist()
        if ended.any() and not ended.all():
            assert not np.array_equal(step.observation[ended], step.next_observation[ended])
            return
    pytest.fail("full lock on one car of four did not end its episode before the others'")


def test_an_episode_that_runs_out_of_time_is_truncated_only() -> None:
    env = RacingEnv(TRACK, TaskConfig(max_episode_seconds=1.0))
    env.reset(seed=5)
    for _ in range(20):
        _, _, terminated, truncated, info = env.step(np.zeros(ACTION_SIZE, np.float32))
        if terminated or truncated:
            break
    assert truncated
    assert not terminated
    assert info["end"] == "time"


def test_against_a_real_time_clock_a_slow_step_is_marked_late_and_the_age_of_the_action_is_known() -> None:
    class Time:
        now = 0.0

        def __call__(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    time = Time()
    task = Task(TRACK)
    clock = RealTimeClock(1.0 / task.config.control_hz, now=time, sleep=time.sleep)
    driving = VectorDriving(SimulatedCar(TRACK, count=1, seed=3), task, clock, now=time)
    driving.reset()
    time.now += 0.03
    step = driving.step(np.zeros((1, ACTION_SIZE), np.float32))
    assert not step.off_period
    assert step.action_age[0] == pytest.approx(0.03)
    time.now += 0.08
    assert driving.step(np.zeros((1, ACTION_SIZE), np.float32)).off_period


def test_a_render_mode_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="leave it None"):
        RacingEnv(TRACK, render_mode="human")

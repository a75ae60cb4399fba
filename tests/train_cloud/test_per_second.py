"""What a run says per second means the same at any rate of its control steps."""

import json

import numpy as np
import pytest

from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig, on_action_grid
from racing.track import Track
from train_cloud.run_config import parse_run_config

TRACK = Track.generate(7, 1200.0)
SECONDS = 6


def rewards(rate: int, smoothness_penalty: float) -> list[float]:
    """What one motion brings: a car that weaves along the road, the action a function of time."""
    task = TaskConfig(control_hz=rate, smoothness_penalty=smoothness_penalty)
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), Task(TRACK, task))
    driving.reset()
    found = []
    for step in range(SECONDS * rate):
        moment = step / rate
        action = [0.05 * np.sin(2 * np.pi * moment), 0.2 - 0.2 * np.cos(np.pi * moment)]
        made = driving.step(on_action_grid(np.array([action])))
        assert not (made.terminated | made.truncated).any()
        found.append(float(made.reward[0]))
    return found


def discount(rate: int) -> float:
    task = {"control_hz": rate}
    return parse_run_config(json.dumps({"run_id": "a", "bucket": {"name": "abc"}, "task": task}).encode()).discount


@pytest.mark.slow
def test_the_same_motion_is_worth_as_much_at_any_rate() -> None:
    worth = []
    for rate in (20, 60):
        brought = np.array(rewards(rate, TaskConfig().smoothness_penalty))
        worth.append(brought @ discount(rate) ** np.arange(len(brought)))
    assert worth[1] == pytest.approx(worth[0], rel=0.03)
    assert worth[0] > 1.0


@pytest.mark.slow
def test_the_same_motion_costs_as_much_smoothness_at_any_rate() -> None:
    # So dear that it is more than the rounding of rewards.
    costs = [sum(rewards(rate, 0.0)) - sum(rewards(rate, 1.0)) for rate in (20, 60)]
    assert costs[1] == pytest.approx(costs[0], rel=0.03)
    assert costs[0] > 0.5

"""A planner that foretells what the controls do drives as if it were not late; one that does not leaves the road."""

from dataclasses import replace

import numpy as np
import pytest

from racing.car import CarState
from racing.driving import VectorDriving
from racing.evaluation import Actor, reference_actions
from racing.prediction import Prediction, steered, turns_on
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, TaskConfig
from racing.track import Track
from train_cloud.driver.planner import HELD_SECONDS, Plan, Planner

TRACK = Track.generate(7, 1200.0)
TASK = Task(TRACK, TaskConfig())
PERIOD = 0.05
LATE = 4
"""Control steps until a plan's first action."""


def play(predict: Prediction, steps: int) -> tuple[float, set[str]]:
    """Metres of a car whose plans are as late as that, and why its episodes ended."""
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), TASK)
    planner = Planner(TASK, reference_actions(ReferenceDriver(TRACK)), 1, predict)
    for _ in range(20):
        planner.measured(LATE * PERIOD)
    driving.reset()
    memory, plans, metres, ends = TASK.begin(driving.state), list[Plan](), 0.0, set[str]()
    for _ in range(steps):
        plans.append(planner.plan(driving.state, memory))
        now = float(driving.state.time[0])
        due = [plan for plan in plans if plan.first <= now + 0.5 * PERIOD]
        step = driving.step(due[-1].actions[0] if due else np.zeros((1, 2), np.float32))
        metres += PERIOD * float(driving.state.velocity[0, 0])
        memory, _ = TASK.advance(memory, driving.state, step.action)
        ends |= {end.reason for end in step.episodes}
        if step.episodes:
            memory = TASK.begin(driving.state)
            planner.begin()
    return metres, ends


@pytest.mark.slow
def test_a_fifth_of_a_second_late_the_road_is_kept_by_knowing_the_controls_and_left_without() -> None:
    metres, ends = play(steered, 200)
    assert not ends
    assert metres > 250.0
    assert play(turns_on, 200)[1]


def test_a_plan_is_for_the_moment_at_which_it_can_be_there() -> None:
    driving = VectorDriving(SimulatedCar(TRACK, 2, start="line"), TASK)
    driving.reset()
    planner = Planner(TASK, reference_actions(ReferenceDriver(TRACK)), 5)
    for delay in (0.09, 0.11, 0.31):
        planner.measured(delay)
    plan = planner.plan(driving.state, TASK.begin(driving.state))
    assert plan.actions.shape == (5, 2, 2)
    assert plan.first == float(driving.state.time[0]) + 2 * PERIOD
    assert plan.expires == plan.first + 5 * PERIOD + HELD_SECONDS
    planner.measured(1e9)
    planner.measured(1e9)
    planner.measured(1e9)
    planner.measured(1e9)
    assert planner.delay <= 2.0 + PERIOD


class Asked:
    """An actor that gives 0.01, 0.02 and so on, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, ...]] = []
        self.speeds: list[float] = []

    def __call__(self, observation: Float32Array, state: CarState) -> Float32Array:
        self.seen.append(tuple(np.round(observation[0, [10, 12]].astype(np.float64), 2).tolist()))
        self.speeds.append(float(state.time[0]))
        return np.full((1, 2), 0.01 * len(self.seen), np.float32)


def plan_twice(act: Actor, trained: float) -> None:
    """Plan at two control steps in a row, three actions each, two steps ahead."""
    driving = VectorDriving(SimulatedCar(TRACK, start="line"), TASK)
    driving.reset()
    planner, memory = Planner(TASK, act, 3, trained_delay=trained), TASK.begin(driving.state)
    planner.measured(2 * PERIOD)
    planner.plan(driving.state, memory)
    planner.plan(replace(driving.state, time=driving.state.time + PERIOD), memory)


def test_each_action_is_chosen_on_the_moment_of_its_use_and_on_the_actions_before_it() -> None:
    asked = Asked()
    plan_twice(asked, 0.0)
    assert np.allclose(asked.speeds, PERIOD * np.array([2, 3, 4, 3, 4, 5]))
    # The second plan's first action follows the first plan's first one, which is under way.
    assert asked.seen == [(0.0, 0.0), (0.01, 0.0), (0.02, 0.01), (0.01, 0.0), (0.04, 0.01), (0.05, 0.04)]


def test_who_has_learned_with_a_delay_is_shown_the_moment_at_which_he_chooses() -> None:
    asked = Asked()
    plan_twice(asked, 2 * PERIOD)
    assert np.allclose(asked.speeds, PERIOD * np.array([0, 1, 2, 1, 2, 3]))
    assert asked.seen == [(0.0, 0.0), (0.01, 0.0), (0.02, 0.01), (0.01, 0.0), (0.04, 0.01), (0.05, 0.04)]

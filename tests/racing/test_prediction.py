"""The models of where a car will be, against the simulator, which knows."""

from dataclasses import replace

import numpy as np

from racing.car import CarState
from racing.driving import VectorDriving
from racing.evaluation import reference_actions
from racing.prediction import Prediction, stays, steered, turns_on
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task
from racing.track import Track

TRACK = Track.generate(7, 1200.0)
PERIOD, AHEAD = 0.05, 8


def driven() -> tuple[list[CarState], list[Float32Array]]:
    """States of four cars that lap, and what was applied after each."""
    driving = VectorDriving(SimulatedCar(TRACK, 4, start=250.0 * np.arange(4, dtype=np.float64)), Task(TRACK))
    act, observation = reference_actions(ReferenceDriver(TRACK)), driving.reset()
    states, actions = [], []
    for _ in range(200):
        states.append(driving.state)
        step = driving.step(act(observation, driving.state))
        observation = step.observation
        actions.append(step.action)
        assert not step.episodes
    return states, actions


def errors(predict: Prediction, states: list[CarState], actions: list[Float32Array]) -> tuple[float, float, float]:
    """Mean errors of place (m), heading (rad) and speed (m/s) after 0.4 s."""
    found = []
    for first in range(0, len(states) - AHEAD, AHEAD):
        state, truth = states[first], states[first + AHEAD]
        for action in actions[first : first + AHEAD]:
            state = predict(state, action, PERIOD)
        assert np.allclose(state.time, truth.time) or predict is stays
        away = np.hypot(*(state.position - truth.position).T)
        aside, faster = np.abs(state.heading - truth.heading), np.abs(state.velocity[:, 0] - truth.velocity[:, 0])
        found.append((away.mean(), aside.mean(), faster.mean()))
    place, heading, speed = np.mean(found, axis=0).tolist()
    return place, heading, speed


def test_knowing_the_controls_foretells_better_than_turning_on_and_that_better_than_nothing() -> None:
    states, actions = driven()
    nothing, on, known = (errors(predict, states, actions) for predict in (stays, turns_on, steered))
    assert 3.0 * on[0] < nothing[0]
    assert all(1.4 * better < worse for better, worse in zip(known, on, strict=True))
    assert known[0] < 0.25


def test_what_the_car_does_not_report_is_not_invented() -> None:
    states, actions = driven()
    bare = replace(states[50], acceleration=None, wheel_slip=None)
    for predict in (turns_on, steered):
        after = predict(bare, actions[50], PERIOD)
        assert after.acceleration is None
        assert after.wheel_slip is None
        assert np.isfinite(after.position).all()

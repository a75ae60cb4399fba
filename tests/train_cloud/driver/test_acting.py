"""Noise belongs to the control step that it is for, whichever plan asks for it."""

from itertools import pairwise

import numpy as np

from train_cloud.driver.acting import SteadyExploration

PERIOD, SHAPE = 0.05, (1, 2)


def noise(random: SteadyExploration, step: int, correlation: float = 0.9) -> list[float]:
    random.at(step * PERIOD)
    return list(map(float, random.held(SHAPE, correlation)[0]))


def test_plans_that_overlap_have_the_same_noise_for_the_same_step() -> None:
    random = SteadyExploration(PERIOD, seed=1)
    plans = [[noise(random, step) for step in range(first, first + 10)] for first in range(50)]
    for earlier, later in pairwise(plans):
        assert earlier[1:] == later[:-1]


def test_what_is_played_keeps_to_the_step_before_though_each_plan_is_ten_steps_long() -> None:
    random = SteadyExploration(PERIOD, seed=2)
    played = []
    for first in range(4000):
        plan = [noise(random, step) for step in range(first, first + 10)]
        played.append(plan[2])
    steer = np.array(played)[:, 0]
    assert abs(float(np.corrcoef(steer[:-1], steer[1:])[0, 1]) - 0.9) < 0.05
    assert abs(float(steer.std()) - 1.0) < 0.2


def test_there_is_none_once_nobody_learns() -> None:
    random = SteadyExploration(PERIOD, seed=1)
    loud = noise(random, 7)
    random.quiet = True
    assert noise(random, 7) == [0.0, 0.0]
    random.quiet = False
    assert noise(random, 7) == loud


def test_another_drive_whose_clock_begins_anew_has_noise_too() -> None:
    random = SteadyExploration(PERIOD, seed=3)
    first = noise(random, 100_000)
    assert noise(random, 5) != first
    assert noise(random, 5) == noise(random, 5)
    assert noise(random, 100_000) != first

"""In real time a step is marked late when it did not take a period: the very step, whatever held it up."""

from collections.abc import Callable

import numpy as np

from racing.car import CarState, Controls
from racing.clock import RealTimeClock
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import ACTION_SIZE, CHANNELS, OBSERVATION_STEP, Task, TaskConfig, on_action_grid
from racing.track import Track

TRACK = Track.generate(3, 1200.0)
NEUTRAL = np.zeros((1, ACTION_SIZE), np.float32)


class Time:
    """A clock on the wall; what is put into `held_up` prolongs one sleep each, in s."""

    def __init__(self) -> None:
        self.now = 100.0
        self.held_up: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + (self.held_up.pop(0) if self.held_up else 0.0)


class WaitedForCar(SimulatedCar):
    """A car whose next states take so long to read, s; before the first of them no time passes."""

    def __init__(self, wait: Callable[[float], object]) -> None:
        super().__init__(TRACK, count=1, seed=3)
        self.wait, self.waits = wait, [0.0]

    def read(self) -> CarState:
        self.wait(self.waits.pop(0) if self.waits else 0.0)
        return super().read()


def driven(held_up: list[float], waits: list[float]) -> tuple[list[bool], list[int]]:
    """Whether each of five steps was late, and how long it took, ms."""
    time = Time()
    task = Task(TRACK, TaskConfig(control_hz=20.0))

    def wait(seconds: float) -> None:
        time.now += seconds

    car = WaitedForCar(wait)
    clock = RealTimeClock(1.0 / task.config.control_hz, now=time, sleep=time.sleep)
    driving = VectorDriving(car, task, clock, now=time)
    driving.reset()
    time.held_up, car.waits = held_up, waits
    late, took = [], []
    for _ in range(5):
        began = time.now
        late.append(driving.step(NEUTRAL).off_period)
        took.append(round(1000.0 * (time.now - began)))
    return late, took


def test_a_sleep_that_lasts_too_long_makes_its_own_step_late() -> None:
    assert driven(held_up=[0.0, 4.0], waits=[]) == ([False, True, False, False, False], [50, 4050, 50, 50, 50])


def test_a_packet_that_comes_late_makes_the_step_late_that_waited_for_it() -> None:
    assert driven(held_up=[], waits=[0.0, 0.095]) == ([False, True, False, False, False], [50, 145, 50, 50, 50])


def test_a_step_that_begins_late_and_is_too_short_is_late_too() -> None:
    late, took = driven(held_up=[], waits=[0.0015, 0.003, 0.0, 0.0, 0.0])
    assert took[2] < 48
    assert late[2]


def test_who_is_watched_acts_as_the_car_shows_it_at_the_end_of_the_period() -> None:
    track = Track.generate(7, 1000.0)
    car = SimulatedCar(track, count=2, seed=1)
    driving = VectorDriving(car, Task(track))
    driving.reset()
    pedals = np.array([0.4, 0.0])
    car.apply(Controls(np.array([0.1, -0.2]), pedals, np.array([0.0, 0.3])))
    step = driving.watch()
    shown = driving.state
    wanted = np.stack([shown.steer, shown.throttle - shown.brake], axis=1)
    assert np.array_equal(step.action, on_action_grid(wanted))
    assert step.action[0, 1] > 0.0 > step.action[1, 1]
    # The next observation names it as the last action, as it does one of a policy.
    last = [channel.name for channel in CHANNELS].index("last_steer_action")
    assert np.abs(step.next_observation[:, last : last + 2] - step.action).max() < OBSERVATION_STEP

"""Drives on a learned policy: no run, no spool, no exploration.

Promises laps on standard output as they are completed, and a car that is let go of at the end. The game's car is driven
as it is for a run (pauses, menus and a human at the wheel included); a simulated one goes as fast as it can be
computed, or with the wall clock.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bridge.assetto_corsa.session import GameSession
from bridge.driving.drive import Waiting
from bridge.driving.game_driver import GameDriver
from racing.clock import RealTimeClock, SimulatedClock
from racing.driving import Step, VectorDriving
from racing.policy import Policy
from racing.simulator import SimulatedCar
from racing.task import Task
from runtime.logs import logging_aside
from runtime.priority import control_thread

_WAIT_SECONDS = 0.005


def play_game(
    session: GameSession,
    task: Task,
    policy: Policy,
    laps: int | None,
    say: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Drive the game's car until told to stop, or for so many laps, each of which is said; the car stays open, neutral.

    Raises CannotDrive, and the OSError of `say`.
    """
    clock = RealTimeClock(1.0 / task.config.control_hz)
    # Nobody learns from what is played.
    driver = GameDriver(session, task, clock, lambda: policy, lambda *_: None, lambda: True, random=None)
    broken: list[OSError] = []

    def speak(line: str) -> None:
        try:
            if not broken:
                say(line)
        except OSError as error:
            broken.append(error)

    # Whoever drives must not wait for a terminal that stands still: laps are told by a thread of their own.
    with logging_aside(), ThreadPoolExecutor(1, "laps") as aside:
        waiting, told = Waiting(), _Laps(laps, lambda line: aside.submit(speak, line))
        with control_thread(real_time=True):
            try:
                while not stop.is_set() and not told.enough and not broken:
                    why = driver.waits_for()
                    waiting.say(why, time.monotonic())
                    if why is not None:
                        stop.wait(_WAIT_SECONDS)
                    elif (step := driver.step()) is not None:
                        told.take(step)
            finally:
                driver.finish()
    if broken:
        raise broken[0]


def play_simulated(
    task: Task,
    policy: Policy,
    laps: int | None,
    say: Callable[[str], None],
    stop: threading.Event,
    real_time: bool,
    seed: int,
) -> None:
    """Drive a simulated car from the start line until told to stop, or for so many laps, each of which is said."""
    car = SimulatedCar(task.track, seed=seed, start="line")
    clock = RealTimeClock(1.0 / task.config.control_hz) if real_time else SimulatedClock()
    driving = VectorDriving(car, task, clock)
    observation, told = driving.reset(), _Laps(laps, say)
    while not stop.is_set() and not told.enough:
        step = driving.step(policy.act(observation))
        observation = step.observation
        told.take(step)


class _Laps:
    """Tells of laps, and of episodes that ended, and knows when it is enough."""

    def __init__(self, wanted: int | None, say: Callable[[str], object]) -> None:
        self._wanted, self._say, self._count = wanted, say, 0

    @property
    def enough(self) -> bool:
        """Whether all wanted laps were driven."""
        return self._wanted is not None and self._count >= self._wanted

    def take(self, step: Step) -> None:
        """Look at what a step has brought."""
        for lap in step.laps:
            self._count += 1
            self._say(f"lap {self._count}: {lap.time:.3f} s{'' if lap.clean else ', not clean'}")
        for end in step.episodes:
            self._say(f"begun anew after {end.steps} steps: {end.reason.replace('_', ' ')}")

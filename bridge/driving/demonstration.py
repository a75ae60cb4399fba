"""Drives that show a policy how it is done: a human in the game, the reference driver in the simulator, a recording.

What they show goes through CleanLaps, and is experience like any other: the task's observations, rewards and ends, what
was steered as the action. Nothing is sent to the game, whose human drives as ever; an episode begins where he does.
"""

from collections.abc import Callable

import numpy as np

from bridge.assetto_corsa.car import NotDriving
from bridge.assetto_corsa.reading.memory import GameError
from bridge.driving.clean_laps import CleanLaps
from bridge.driving.drive import CannotDrive
from racing.car import Car
from racing.clock import Clock
from racing.driving import Lookout, Step, VectorDriving
from racing.evaluation import Actor
from racing.task import STALL_SPEED, Float32Array, Task

_MOST_LEFT_OUT = 5
"""A driver of ours who has spoilt so many laps will spoil the next one, too."""


class HumanDriver:
    """Watches a human drive the game's car, from when it moves; see `Driver`.

    Args:
        car: one car that nobody steers through it; its reset moves nothing.
        check: raises GameError where the game is not the same any more.
        collecting: whether steps are wanted.
        lookout: shows other threads each step; None where nobody looks.
    """

    over, version = False, 0

    def __init__(
        self,
        car: Car,
        task: Task,
        clock: Clock,
        laps: CleanLaps,
        check: Callable[[], None],
        collecting: Callable[[], bool] = lambda: True,
        lookout: Lookout | None = None,
    ) -> None:
        # An episode that has ended begins anew when the car drives again.
        self._driving = VectorDriving(car, task, clock, restarts=False, lookout=lookout)
        self._laps, self._check, self._collecting = laps, check, collecting
        self._observation: Float32Array | None = None

    def waits_for(self) -> str | None:
        """The game, or somebody who drives. Raises CannotDrive."""
        if self._observation is not None:
            return None
        try:
            observation = self._driving.reset()
        except NotDriving as interruption:
            return f"the game. {interruption}"
        if float(np.hypot(*self._driving.state.velocity[0])) <= STALL_SPEED:
            return "you to drive"
        try:
            self._check()
        except GameError as error:
            raise CannotDrive(str(error)) from error
        self._observation = observation
        return None

    def step(self) -> Step | None:
        """One step of the human; None where there was none."""
        if self._observation is None:
            return None
        try:
            step = self._driving.watch()
        except NotDriving:
            self.interrupt()
            return None
        if self._collecting():
            self._laps.record(self._observation, step)
        self._observation = None if step.episodes else step.observation
        return step

    def interrupt(self) -> None:
        """What is driven next does not join what was."""
        self._laps.interrupted()
        self._observation = None

    def finish(self) -> None:
        """Nothing is held back here."""


class ShownDriver:
    """Drives a simulated car as `actor` does; see `Driver`."""

    version = 0

    def __init__(self, driving: VectorDriving, actor: Actor, laps: CleanLaps) -> None:
        self._driving, self._actor, self._laps = driving, actor, laps
        self._observation = driving.reset()

    @property
    def over(self) -> bool:
        """Whether he cannot do it."""
        return self._laps.left_out.total() >= _MOST_LEFT_OUT

    def waits_for(self) -> str | None:
        """Room for what was driven."""
        return None if self._laps.ready() else "room in the spool"

    def step(self) -> Step:
        """One step."""
        observation = self._observation
        step = self._driving.step(self._actor(observation, self._driving.state))
        self._laps.record(observation, step)
        self._observation = step.observation
        return step

    def finish(self) -> None:
        """Nothing is held back here."""

"""Who acts for one car: the run's newest policy with exploration, as a bridge's, or the reference driver.

A plan chooses the same control step's action many times, once in each chunk until it is played. So noise belongs to a
step, not to a call: each step has the same noise in every plan, and keeps to the step's before, as exploration does.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from experience.batches import NOBODY
from experience.policy_driver import CheckedActions
from racing.car import CarState
from racing.driving import Step
from racing.evaluation import Actor
from racing.exploration import Exploration, Float32Array
from racing.policy import Policy
from racing.task import ACTION_SIZE

_KEPT: Final = 200
"""Steps whose noise is remembered; more than any plan reaches back and ahead."""


class SteadyExploration(Exploration):
    """Noise of one car by the control step that it is for; `period` in s. Not thread-safe."""

    def __init__(self, period: float, seed: int | None = None) -> None:
        super().__init__(seed)
        self._period = period
        self._step = 0
        self._noise: dict[int, Float32Array] = {}
        self.quiet = False
        """Whether there is no noise."""

    def at(self, time: float) -> None:
        """What is asked for next is for the step at this time, s."""
        self._step = round(time / self._period)

    def held(self, shape: tuple[int, ...], correlation: float) -> Float32Array:
        """As of Exploration, but the same again for the same step."""
        if self.quiet:
            return np.zeros(shape, np.float32)
        while self._step not in self._noise:
            newest = max(self._noise, default=self._step - 1)
            if not newest < self._step <= newest + _KEPT:
                # Another episode, or an old one's plan: nothing of before is of use.
                self._noise.clear()
                newest = self._step - 1
            self._noise[newest + 1] = super().held(shape, correlation)
            self._noise.pop(newest + 1 - _KEPT, None)
        return self._noise[self._step].copy()


class Acting:
    """The actor of one car.

    Args:
        policy, to_judge: the run's newest ones; None before the first.
        period: control period, s.
        reference: acts in place of every policy; None for policies.
        done: whether nobody learns any more, so that there is nothing to explore.
    """

    def __init__(
        self,
        policy: Callable[[], Policy | None],
        to_judge: Callable[[], Policy | None],
        period: float,
        reference: Actor | None = None,
        done: Callable[[], bool] = lambda: False,
    ) -> None:
        self._policy, self._reference, self._done = policy, reference, done
        self._noise = SteadyExploration(period)
        self._checked = CheckedActions(policy, self._noise, np.zeros((1, ACTION_SIZE), np.float32), to_judge)
        self._episode: int | None = None

    def newest(self) -> tuple[Actor, int] | None:
        """Who acts now, and his version; None while nobody does."""
        if self._reference is not None:
            return self._reference, NOBODY
        return None if self._policy() is None else (self._act, self._checked.version)

    def seen(self, episode: int | None) -> None:
        """A frame of this episode came."""
        if episode != self._episode:
            self._episode = episode
            self._checked.begin()

    def drove(self, step: Step) -> None:
        """This came of actions chosen here."""
        self._checked.drove(step)

    def _act(self, observation: Float32Array, state: CarState) -> Float32Array:
        self._noise.at(float(state.time[0]))
        self._noise.quiet = self._done()
        return np.asarray(self._checked.choose(observation)[0], np.float32)

"""Makes experience by a policy: observes, acts by the newest one, and hands each step to the recorder."""

from typing import Protocol

import numpy as np

from experience.recorder import Recorder
from racing.driving import Step, VectorDriving
from racing.policy import Policy
from racing.task import ACTION_SIZE, controls_of


class RunView(Protocol):
    """The run that learns from what is made, as it stands now, by a link, a store or a test; nothing here waits."""

    @property
    def policy(self) -> Policy | None:
        """The newest policy; None before the first. Take it once a step."""

    @property
    def done(self) -> bool:
        """Whether the run has all its training, so that nobody learns from further experience."""

    @property
    def lead_steps(self) -> int:
        """By how many steps the run's experience, with what is on its way to it, leads its training."""

    @property
    def max_lead_steps(self) -> int | None:
        """How far it may lead; None while that is not known."""


class PolicyDriver:
    """Explores with the run's newest policy; in `real_time` the car waits for nothing.

    `seed` is the exploration's; None for another one each time.
    """

    over = False

    def __init__(
        self, driving: VectorDriving, run: RunView, recorder: Recorder, real_time: bool, seed: int | None = None
    ) -> None:
        self._driving, self._run, self._recorder = driving, run, recorder
        self._real_time = real_time
        self._random = np.random.default_rng(seed)
        self._neutral = np.zeros((driving.car.count, ACTION_SIZE), np.float32)
        self._observation = driving.reset()

    @property
    def version(self) -> int:
        """Of the newest policy; 0 before the first."""
        policy = self._run.policy
        return 0 if policy is None else policy.version

    def waits_for(self) -> str | None:
        """The first policy, the trainer, or room; nothing in real time."""
        if self._real_time:
            return None
        if self._run.policy is None:
            return "the first policy"
        if not self._recorder.ready():
            return "room in the spool"
        most = self._run.max_lead_steps
        if most is not None and self._run.lead_steps + self._recorder.pending_steps > most:
            return "the trainer"
        return None

    def step(self) -> Step | None:
        """One step of all cars; None for one that is no experience: driven without a policy, or after the run."""
        observation, policy = self._observation, self._run.policy
        if policy is None or not np.isfinite(observation).all():
            self._observation = self._driving.step(self._neutral).observation
            return None
        step = self._driving.step(policy.act(observation, self._random))
        if self._run.done:
            self._observation = step.observation
            return None
        self._recorder.record(observation, step, policy.version)
        self._observation = step.observation
        return step

    def finish(self) -> None:
        """Neutral controls; nothing is held back."""
        self._driving.car.apply(controls_of(self._neutral))

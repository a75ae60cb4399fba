"""Makes experience by a policy: observes, acts by the newest one, and hands each step to the recorder."""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np

from experience.recorder import Recorder
from racing.driving import Step, VectorDriving
from racing.policy import Actions, Policy
from racing.task import ACTION_SIZE, Float32Array, controls_of
from runtime.logs import fields

_log = logging.getLogger(__name__)


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


def wait_for_run(run: RunView, recorder: Recorder, real_time: bool) -> str | None:
    """What a step waits for: the first policy, and where time is simulated the trainer or room; None for nothing."""
    if run.policy is None:
        return "the first policy"
    if real_time:
        return None
    if not recorder.ready():
        return "room in the spool"
    most = run.max_lead_steps
    return "the trainer" if most is not None and run.lead_steps + recorder.pending_steps > most else None


class CheckedActions:
    """Actions of the newest policy, each looked at before it is applied.

    A policy that gives a number which is not finite drives no more: the one before does, and without one `otherwise`
    (N, A) is done, as it is for an observation that is not finite. `random` is of the exploration; None for none.
    """

    def __init__(
        self, newest: Callable[[], Policy | None], random: np.random.Generator | None, otherwise: Actions
    ) -> None:
        self._newest, self._random, self._otherwise = newest, random, otherwise
        self._met: Policy | None = None
        self._sound: list[Policy] = []
        """The newest policy and the one before, unless they gave something else than an action."""

    def choose(self, observation: Float32Array) -> tuple[Actions, int]:
        """The actions (N, A) for observations (N, D), and the version of the policy that chose them; 0 for none."""
        newest = self._newest()
        if newest is not None and newest is not self._met:
            self._met = newest
            self._sound = [*self._sound[-1:], newest]
        while self._sound and np.isfinite(observation).all():
            policy = self._sound[-1]
            action = policy.act(observation, self._random)
            if np.isfinite(action).all():
                return action, policy.version
            self._sound.pop()
            then = f"version {self._sound[-1].version}" if self._sound else "nobody"
            _log.error(
                "a policy gave a number that is no action, and drives no more",
                extra=fields(version=policy.version, now_drives=then),
            )
        return self._otherwise, 0


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
        self._neutral = np.zeros((driving.car.count, ACTION_SIZE), np.float32)
        self._actions = CheckedActions(lambda: run.policy, np.random.default_rng(seed), self._neutral)
        self._observation = driving.reset()

    @property
    def version(self) -> int:
        """Of the newest policy; 0 before the first."""
        policy = self._run.policy
        return 0 if policy is None else policy.version

    def waits_for(self) -> str | None:
        """The first policy, the trainer, or room; nothing in real time."""
        return None if self._real_time else wait_for_run(self._run, self._recorder, False)

    def step(self) -> Step | None:
        """One step of all cars; None for one that is no experience: driven without a policy, or after the run."""
        observation = self._observation
        action, version = self._actions.choose(observation)
        step = self._driving.step(action)
        self._observation = step.observation
        if version == 0 or self._run.done:
            return None
        self._recorder.record(observation, step, version)
        return step

    def finish(self) -> None:
        """Neutral controls; nothing is held back."""
        self._driving.car.apply(controls_of(self._neutral))

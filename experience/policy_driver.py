"""Makes experience by a policy: observes, acts by the newest one, and hands each step to the recorder."""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np

from racing.driving import Step, VectorDriving
from racing.exploration import Exploration
from racing.policy import Actions, Policy
from racing.task import ACTION_SIZE, Float32Array, controls_of
from runtime.logs import fields

LAPS = 3
"""That a policy drives without exploration to be judged."""

_log = logging.getLogger(__name__)


class Acts(Protocol):
    """Chooses actions: a policy, or what brings those of one that acts elsewhere."""

    @property
    def version(self) -> int:
        """Of the policy, at least 1."""

    def act(self, observation: Float32Array, rng: np.random.Generator | None = None) -> Actions:
        """Actions (N, A) for observations (N, D); with `rng` it explores."""


class Takes(Protocol):
    """What a driver must know of a Recorder."""

    @property
    def pending_steps(self) -> int:
        """As of Recorder."""

    def ready(self) -> bool:
        """As of Recorder."""

    def record(self, observation: Float32Array, step: Step, policy_version: int) -> bool:
        """As of Recorder."""


class RunView(Protocol):
    """The run that learns from what is made, as it stands now, by a link, a store or a test; nothing here waits."""

    @property
    def policy(self) -> Acts | None:
        """The newest policy; None before the first. Take it once a step."""

    @property
    def to_judge(self) -> Policy | None:
        """The newest policy that was sent to be judged; None before the first."""

    @property
    def done(self) -> bool:
        """Whether the run has all its training, so that nobody learns from further experience."""

    @property
    def lead_steps(self) -> int:
        """By how many steps the run's experience, with what is on its way to it, leads its training."""

    @property
    def max_lead_steps(self) -> int | None:
        """How far it may lead; None while that is not known."""


def wait_for_run(run: RunView, recorder: Takes, real_time: bool) -> str | None:
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
    A policy that is `to_judge` drives alone, without exploration, from the next episode's begin or lap on: to the
    episode's end, or for LAPS laps.
    """

    def __init__(
        self,
        newest: Callable[[], Acts | None],
        random: np.random.Generator | None,
        otherwise: Actions,
        to_judge: Callable[[], Policy | None] = lambda: None,
    ) -> None:
        self._newest, self._random, self._otherwise = newest, random, otherwise
        self._to_judge = to_judge
        self._judged: Policy | None = None
        self._alone: Policy | None = None
        self._laps_left = 0
        self._met: Acts | None = None
        self._sound: list[Acts] = []
        """The newest policy and the one before, unless they gave something else than an action."""

    @property
    def version(self) -> int:
        """Of the policy that is asked next; 0 for none."""
        drives = self._alone or self._newest()
        return 0 if drives is None else drives.version

    def begin(self) -> None:
        """An episode of all cars, or a lap of the only one, begins."""
        waiting, self._alone = self._to_judge(), None
        if waiting is not None and waiting is not self._judged:
            self._alone = waiting
            self._laps_left = LAPS
            _log.info("a policy is judged: it drives without exploration", extra=fields(version=waiting.version))

    def drove(self, step: Step) -> None:
        """This came of the actions chosen last."""
        self._laps_left -= len(step.laps)
        if self._laps_left <= 0:
            self._alone = None
        if self._alone is None and step.laps:
            # A car that laps may do so for minutes before its episode ends.
            self.begin()

    def choose(self, observation: Float32Array) -> tuple[Actions, int]:
        """The actions (N, A) for observations (N, D), and the version of the policy that chose them; 0 for none."""
        if self._alone is not None:
            # Not before it drives: an episode may end while a start still rolls.
            self._judged = self._alone
            action = self._alone.act(observation)
            if np.isfinite(action).all():
                return action, self._alone.version
            self._alone = None
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
    """Explores with the run's newest policy; in `real_time` the car waits for nothing, and one alone is judged.

    `seed` is the exploration's; None for another one each time.
    """

    over = False

    def __init__(
        self, driving: VectorDriving, run: RunView, recorder: Takes, real_time: bool, seed: int | None = None
    ) -> None:
        self._driving, self._run, self._recorder = driving, run, recorder
        self._real_time = real_time
        self._neutral = np.zeros((driving.car.count, ACTION_SIZE), np.float32)
        random = Exploration(seed)
        self._actions = CheckedActions(lambda: run.policy, random, self._neutral, lambda: run.to_judge)
        self._observation = driving.reset()
        self._begin()

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
        self._actions.drove(step)
        if step.episodes:
            self._begin()
        if version == 0 or self._run.done:
            return None
        self._recorder.record(observation, step, version)
        return step

    def _begin(self) -> None:
        # One policy drives all cars, so that one which is judged would begin in the middle of the others' episodes.
        if self._real_time and self._driving.car.count == 1:
            self._actions.begin()

    def finish(self) -> None:
        """Neutral controls; nothing is held back."""
        self._driving.car.apply(controls_of(self._neutral))

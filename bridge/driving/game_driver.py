"""Drives the real game's car, whose time nobody can stop: a step follows a new packet, or there is no step.

Promises that a pause, a menu, a hang, a restart, a human at the wheel, a game that stops following or the end of the
game ends the episode as truncated at its last whole step that was ours, and makes no experience, but for the laps that
the human shows (demonstration.py); that a new episode begins at a verified start, which is not tried while the policy
must not drive; and that the car is neutral in between, without a policy or with one that gives no action, and at the
end. What ended is recorded before the next start is tried. For that, the newest steps are held back: it takes a moment
until a human is told from a twitch and a deaf game from a late one, and the loss of the car shows only after the step
in which it was lost.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bridge.assetto_corsa.by_hand import WatchedCar
from bridge.assetto_corsa.car import NotDriving, command_of
from bridge.assetto_corsa.controls.controls import NEUTRAL, BackendUnavailable
from bridge.assetto_corsa.controls.obedience import DOUBT_SECONDS
from bridge.assetto_corsa.guarded_car import NotObeyed
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.session import GameSession
from bridge.driving.clean_laps import CleanLaps
from bridge.driving.demonstration import HumanDriver
from bridge.driving.drive import CannotDrive
from experience.batches import NOBODY
from experience.policy_driver import Acts, CheckedActions
from racing.clock import Clock
from racing.driving import EpisodeEnd, Lookout, Step, VectorDriving
from racing.policy import Policy
from racing.task import Float32Array, Task, controls_of

_LOOK_SECONDS = 0.1
"""How often a game that is not driven is looked at."""

_TELL_SECONDS = 1.0
"""Enough to tell a human at the wheel from a twitch (safety.Tolerance)."""

_HOLD_SECONDS = 2.0 * DOUBT_SECONDS
"""For so long each step is held back: when there is a doubt about it, that is known by then."""

_MOST_NOT_OBEYED = 3
"""Starts in a row after which the game did not follow; a fourth one would be no better."""
_OBEYED_SECONDS = 10.0
"""Driven for so long in one go, the game follows again."""


@dataclass(slots=True)
class _Held:
    """A step that may turn out to be the last of its episode, or none.

    Attributes: observation: it was chosen on; step, version: as recorded; steps, total_reward: of the episode, with it;
    ended: s, monotonic; doubtful: it may not have been ours.
    """

    observation: Float32Array
    step: Step
    version: int
    steps: int
    total_reward: float
    ended: float
    doubtful: bool = False


class GameDriver:
    """Drives with the newest policy, once a start has rolled.

    Args:
        session: the game; what its shaping makes of what the policy asks for is the action that is recorded.
        task: what is observed and rewarded.
        clock: paces the steps.
        policy: the newest one; None before the first.
        record: takes a step, with the observation it was chosen on and the policy's version.
        collecting: whether steps are wanted; driving goes on without.
        random: of the exploration; None to drive as well as the policy can.
        laps: takes what a human shows who has taken the wheel; None where nobody learns from him.
        to_judge: the newest policy that is to drive an episode alone, without exploration; None before the first.
        lookout: shows other threads each step, whoever drives it; None where nobody looks.
        as_it_is: whether what the policy has just chosen is not to be shaped.
    """

    over = False

    def __init__(
        self,
        session: GameSession,
        task: Task,
        clock: Clock,
        policy: Callable[[], Acts | None],
        record: Callable[[Float32Array, Step, int], object],
        collecting: Callable[[], bool],
        random: np.random.Generator | None,
        laps: CleanLaps | None = None,
        to_judge: Callable[[], Policy | None] = lambda: None,
        lookout: Lookout | None = None,
        as_it_is: Callable[[], bool] = lambda: False,
    ) -> None:
        self._session, self._car, self._policy, self._as_it_is = session, session.car, policy, as_it_is
        # A start takes its time, or fails, and what ended must be recorded before it.
        self._driving = VectorDriving(session.car, task, clock, restarts=False, lookout=lookout)
        brake = np.array([[NEUTRAL.steer, NEUTRAL.throttle - NEUTRAL.brake]], np.float32)
        self._actions = CheckedActions(policy, random, brake, to_judge)
        self._record, self._collecting = record, collecting
        self._human: HumanDriver | None = None
        if laps is not None:
            watched = WatchedCar(session.car.watch, session.car.begin_anew)
            self._human = HumanDriver(watched, task, clock, laps, session.check, collecting, lookout)
        self._applied = NEUTRAL
        self._observation: Float32Array | None = None
        self._held: deque[_Held] = deque()
        self._steps, self._total_reward = 0, 0.0
        self._not_obeyed = 0
        self._why: str | None = None
        self._look_at = 0.0

    @property
    def version(self) -> int:
        """Of the newest policy; 0 before the first."""
        policy = self._policy()
        return 0 if policy is None or self._shown_by is not None else policy.version

    @property
    def _shown_by(self) -> HumanDriver | None:
        """Who has taken the wheel, where something is learned from him."""
        return self._human if self._car.human_drives else None

    def waits_for(self) -> str | None:
        """The first policy, or a game that can be driven; where a human has the wheel, that he drives."""
        if (human := self._shown_by) is not None:
            return human.waits_for()
        if self._policy() is None:
            return "the first policy"
        if self._why is not None and time.monotonic() >= self._look_at:
            self._why = self._why_not()
            self._look_at = time.monotonic() + _LOOK_SECONDS
        return None if self._why is None else f"the game. {self._why}"

    def step(self) -> Step | None:
        """One step; None when none came of it, or it is not collected. Raises CannotDrive."""
        if (human := self._shown_by) is not None:
            return human.step()
        if self._policy() is None or (self._observation is None and not self._began()):
            return None
        observation = self._observation
        assert observation is not None
        try:
            wanted, version = self._chosen(observation)
            step = _named(self._driving.step(self._shaped(wanted)), version)
        except NotDriving as interruption:
            self._interrupt(str(interruption))
            if isinstance(interruption, NotObeyed):
                self._count_not_obeyed(interruption)
            return None
        except BackendUnavailable as lost:
            # It was lost while the newest step was driven: whose that was is not known.
            if self._held:
                self._held.pop()
            raise CannotDrive(str(lost)) from lost
        self._applied = command_of(controls_of(step.action))
        self._actions.drove(step)
        self._steps += 1
        self._total_reward += float(step.reward[0])
        self._observation = None if step.episodes else step.observation
        if self._steps * self._driving.period > _OBEYED_SECONDS:
            self._not_obeyed = 0
        return self._taken(_Held(observation, step, version, self._steps, self._total_reward, time.monotonic()))

    def rest(self) -> None:
        """Look after a car that is not to be driven now: gently braked, unless a human or the game has it.

        Raises CannotDrive as `step` does; takes as long as reading the game's next packet.
        """
        if (why := self._why_not()) is not None:
            self._interrupt(why)
        else:
            self._car.neutral()

    def finish(self) -> None:
        """Let go of the car; the episode that was being driven is truncated."""
        self._truncate("stopped")
        self._car.neutral()

    def _began(self) -> bool:
        """Whether a new episode has begun; raises CannotDrive where the game does not answer."""
        self._steps, self._total_reward = 0, 0.0
        if (why := self._why_not()) is not None:
            self._interrupt(why)
            return False
        if self._car.doubtful_since is not None:
            # Is it a human? That is soon known, and then there is a reason or none.
            self._car.neutral()
            return False
        try:
            self._session.check()
            self._observation = self._driving.reset()
            self._applied = NEUTRAL
            self._actions.begin()
            if self._session.rolling is not None:
                self._session.rolling.begin(self._driving.state)
        except NotDriving as interruption:
            self._interrupt(str(interruption))
        except BackendUnavailable as lost:
            raise CannotDrive(str(lost)) from lost
        except GameError as error:
            # Whoever pauses the game, ends it, or steers during a start finds it waiting when he comes back.
            why = self._why_not_soon()
            if why is None:
                raise CannotDrive(str(error)) from error
            self._interrupt(why)
        return self._observation is not None

    def _chosen(self, observation: Float32Array) -> tuple[Float32Array, int]:
        """The action (1, 2) that is wanted now, and the version of the policy that chose it, or NOBODY."""
        rolling = self._session.rolling
        rolled = None if rolling is None else rolling.action(self._driving.state)
        if rolled is not None:
            return rolled, NOBODY
        action, version = self._actions.choose(observation)
        return action, version or NOBODY

    def _shaped(self, wanted: Float32Array) -> Float32Array:
        """The action that is applied in place of `wanted`, (1, 2); the same where nothing is shaped."""
        shaping = self._session.shaping
        if not shaping.on or self._as_it_is():
            return wanted
        command = shaping.shaped(self._applied, command_of(controls_of(wanted)), self._driving.period)
        return np.array([[command.steer, command.throttle - command.brake]], np.float32)

    def _why_not(self) -> str | None:
        try:
            return self._car.why_not()
        except BackendUnavailable as lost:
            raise CannotDrive(str(lost)) from lost

    def _why_not_soon(self) -> str | None:
        """As _why_not, for as long as it takes to tell a human from a twitch."""
        until = time.monotonic() + _TELL_SECONDS
        while (why := self._why_not()) is None and time.monotonic() < until:
            self._car.neutral()
        return why

    def _taken(self, newest: _Held) -> Step | None:
        if not self._collecting():
            self._truncate("stopped")
            return None
        self._held.append(newest)
        self._doubt()
        if newest.step.episodes:
            if newest.doubtful:
                # At an episode's end, it will never be known.
                self._truncate("interrupted")
            self._release()
        else:
            # The last one before a doubt is kept: it is where the episode ends if that was right.
            while self._held[0].ended < newest.ended - _HOLD_SECONDS and not self._held[1].doubtful:
                self._release(1)
        return newest.step

    def _doubt(self) -> None:
        """Mark which of the steps that are held back may not have been ours."""
        since, next_one = self._car.doubtful_since, False
        for held in reversed(self._held):
            itself = since is not None and held.ended >= since
            # Nobody turns a wheel at once: it began within what is tolerated, in the step before.
            held.doubtful, next_one = itself or next_one, itself

    def _release(self, count: int | None = None) -> None:
        """Record what is held back, or the oldest `count` steps of it."""
        for _ in range(len(self._held) if count is None else count):
            held = self._held.popleft()
            self._record(held.observation, held.step, held.version)

    def _count_not_obeyed(self, interruption: NotObeyed) -> None:
        """Give up on a game that goes on not to follow; raises CannotDrive."""
        self._not_obeyed += 1
        if self._not_obeyed >= _MOST_NOT_OBEYED:
            raise CannotDrive(
                f"{interruption} It was so after each of the last {_MOST_NOT_OBEYED} starts, so there is nothing to "
                "learn from. See that nobody else holds the controls and, with a pad, that it is bound; `ac-bridge "
                "doctor --move` tries them. Restart the game's session, then start the bridge again."
            )

    def _interrupt(self, why: str) -> None:
        self._truncate("interrupted")
        self._observation = None
        self._why, self._look_at = why, time.monotonic() + _LOOK_SECONDS

    def _truncate(self, reason: str) -> None:
        """Record what is held back and ours, and end the episode there."""
        while self._held and self._held[-1].doubtful:
            self._held.pop()
        if self._held:
            last = self._held[-1]
            ended = EpisodeEnd(0, last.steps, last.total_reward, reason)
            last.step = replace(last.step, truncated=np.ones(1, np.bool_), episodes=(ended,))
        self._release()


def _named(step: Step, version: int) -> Step:
    """The step, its end called after the rolling start where that brought it about: no policy is to blame."""
    if version != NOBODY or not step.episodes:
        return step
    return replace(step, episodes=tuple(replace(end, reason="start") for end in step.episodes))

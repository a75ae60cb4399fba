"""One car that is driven from here, as its frames tell: what to plan on, and experience of what came of the plans.

Promises that a step is two frames in a row of one episode with the action that the second one says was applied, judged
by the task's own functions; that a step is recorded only once a frame says that it was surely ours (`settled`); and
that whatever lies between ends the episode as truncated at its last such step, and is never joined: frames that were
lost, a step that was not ours, an episode of which the end was not seen.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from experience.batches import NOBODY, REASONS
from racing.car import CarState
from racing.driving import EpisodeEnd, Lap, Step
from racing.task import End, Float32Array, Task, TaskMemory, on_action_grid
from wire.messages import Telemetry

LOST: Final = 1.5
"""Periods from one frame to the next beyond which there was one between them."""
OFF_PERIOD: Final = 0.1
"""Of a period, by which a step may be longer or shorter before it counts as off its period."""
MOST_HELD_SECONDS: Final = 10.0
"""Of steps that nobody has said to be ours; a bridge knows within a second."""
_ROUNDING: Final = 1e-6
"""s."""
_NUMBERS = ("time", "heading", "yaw_rate", "steer", "throttle", "brake", "engine_rpm")
_VECTORS = ("position", "velocity")
_MAYBE = ("acceleration", "wheel_slip", "wheel_load", "wheel_angular_speed")


def state_of(frame: Telemetry) -> CarState | None:
    """The one car that the frame tells of; None where it does not tell all that a driver must know."""
    told: dict[str, Any] = {name: getattr(frame, name) for name in (*_NUMBERS, *_VECTORS, "wheels_out", "collided")}
    if any(value is None for value in told.values()):
        return None
    told |= {name: getattr(frame, name) for name in _MAYBE}
    floats: dict[str, Any] = {
        name: None if told[name] is None else np.array([told[name]], np.float64)
        for name in (*_NUMBERS, *_VECTORS, *_MAYBE)
    }
    return CarState(
        **floats,
        gear=np.array([frame.gear], np.int64),
        wheels_out=np.array([frame.wheels_out], np.int64),
        collided=np.array([frame.collided], np.bool_),
    )


@dataclass(slots=True)
class _Held:
    """A step that may turn out to be the last of its episode, or none; it led to the state of this time (s).

    Attributes: observation, step, version: as recorded; steps, total_reward: of the episode, with it.
    """

    time: float
    observation: Float32Array
    step: Step
    version: int
    steps: int
    total_reward: float


class SeenDrive:
    """Follows the frames of one car.

    Args:
        task: observes and judges.
        record: takes a step, with the observation it was chosen on and the version of the policy that chose it.
        version_of: the version by which the chunk of a number was planned; None for a chunk that is not known.
    """

    def __init__(
        self,
        task: Task,
        record: Callable[[Float32Array, Step, int], object],
        version_of: Callable[[int], int | None],
    ) -> None:
        self._task, self._record, self._version_of = task, record, version_of
        self._period = 1.0 / task.config.control_hz
        self._episode: int | None = None
        """Number of the one that is followed; None between two."""
        self._time = -np.inf
        self._held: deque[_Held] = deque()
        """The newest steps; a settled one is recorded when the next is settled too, or when the episode has ended."""
        self._settled = -np.inf
        self._steps, self._total_reward = 0, 0.0
        self.state: CarState
        """The newest one of an episode that goes on, with what the task remembers of it."""
        self.memory: TaskMemory
        self._observation: Float32Array
        self.gaps = 0
        """Times that an episode was cut off because of what was not seen."""

    def see(self, frame: Telemetry) -> bool:
        """Take the next frame; whether it is one to plan on (`state`, `memory`). One from the past is let alone."""
        state = state_of(frame)
        if state is None or frame.episode is None:
            self.interrupt()
            return False
        past, self._time = float(state.time[0]) - self._time, float(state.time[0])
        if frame.settled is not None and frame.episode == self._episode:
            self._settled = max(self._settled, frame.settled)
        if past <= 0.0 and frame.episode == self._episode:
            self._time -= past
            if frame.ended is not None:
                # It tells of no further step, only how far the episode counts.
                self.interrupt(frame.ended if frame.ended in REASONS else "interrupted")
            return False
        if frame.episode != self._episode or frame.action is None or past > LOST * self._period:
            self.gaps += self._episode is not None
            self.interrupt()
            if frame.ended is None:
                self._begin(frame.episode, state)
            return frame.ended is None
        self._advance(frame, state, past)
        return self._episode is not None

    def interrupt(self, reason: str = "interrupted") -> None:
        """End the episode, if one is followed, at its last whole step that was surely ours."""
        while self._held and self._held[-1].time > self._settled + _ROUNDING:
            self._held.pop()
        if self._held and not self._held[-1].step.episodes:
            last = self._held[-1]
            ended = EpisodeEnd(0, last.steps, last.total_reward, reason)
            last.step = replace(last.step, truncated=np.ones(1, np.bool_), episodes=(ended,))
        self._release(len(self._held))
        self._episode = None

    def _begin(self, episode: int, state: CarState) -> None:
        self._episode, self.state, self.memory = episode, state, self._task.begin(state)
        self._observation = self._task.observe(state, self.memory)
        self._steps, self._total_reward = 0, 0.0
        self._settled = float(state.time[0])

    def _advance(self, frame: Telemetry, state: CarState, past: float) -> None:
        action = on_action_grid(np.array([frame.action], np.float64))
        self.memory, outcome = self._task.advance(self.memory, state, action)
        before, self.state = self._observation, state
        self._observation = self._task.observe(state, self.memory)
        self._steps += 1
        self._total_reward += float(outcome.reward[0])
        # The PC knows what no task can see: that a start has failed, or somebody took the wheel.
        reason = frame.ended or (End(int(outcome.end[0])).name.lower() if outcome.end[0] != End.NONE else None)
        ends: tuple[EpisodeEnd, ...] = ()
        if reason is not None:
            told = reason if reason in REASONS else "interrupted"
            ends = (EpisodeEnd(0, self._steps, self._total_reward, told),)
        step = Step(
            observation=self._observation,
            next_observation=self._observation,
            action=action,
            reward=outcome.reward,
            terminated=outcome.terminated,
            truncated=~outcome.terminated & (reason is not None),
            action_age=np.full(1, frame.action_age or 0.0, np.float32),
            off_period=abs(past - self._period) > OFF_PERIOD * self._period,
            laps=tuple(
                Lap(0, float(time), bool(clean))
                for time, clean in zip(outcome.lap_time, outcome.lap_clean, strict=True)
                if not np.isnan(time)
            ),
            episodes=ends,
        )
        version = None if frame.chunk is None else self._version_of(frame.chunk)
        version = NOBODY if version is None else version
        time = float(state.time[0])
        self._held.append(_Held(time, before, step, version, self._steps, self._total_reward))
        if frame.settled is None:
            self._settled = time
        if ends or len(self._held) > MOST_HELD_SECONDS / self._period:
            self.interrupt()
        else:
            # The last settled one is kept: it is where the episode ends if those behind it were not ours.
            self._release(sum(held.time <= self._settled + _ROUNDING for held in self._held) - 1)

    def _release(self, count: int) -> None:
        """Record the oldest `count` steps."""
        for _ in range(count):
            held = self._held.popleft()
            self._record(held.observation, held.step, held.version)

"""One car that is driven from here, as its frames tell: what to plan on, and experience of what came of the plans.

Promises that a step is two frames in a row of one episode with the action that the second one says was applied, judged
by the task's own functions; and that whatever lies between ends the episode as truncated at its last whole step, and
is never joined: frames that were lost, a step that was not ours, an episode of which the end was not seen.
"""

from collections.abc import Callable
from dataclasses import replace
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
        self._held: tuple[Float32Array, Step, int] | None = None
        """The newest step; it is recorded when the next frame shows that the episode went on, or that it ended."""
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
        if past <= 0.0 and frame.episode == self._episode:
            self._time -= past
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
        """End the episode, if one is followed, at its last whole step."""
        if self._held is not None:
            observation, step, version = self._held
            ended = EpisodeEnd(0, self._steps, self._total_reward, reason)
            self._held = observation, replace(step, truncated=np.ones(1, np.bool_), episodes=(ended,)), version
            self._release()
        self._episode = None

    def _begin(self, episode: int, state: CarState) -> None:
        self._episode, self.state, self.memory = episode, state, self._task.begin(state)
        self._observation = self._task.observe(state, self.memory)
        self._steps, self._total_reward = 0, 0.0

    def _advance(self, frame: Telemetry, state: CarState, past: float) -> None:
        self._release()
        action = on_action_grid(np.array([frame.action], np.float64))
        self.memory, outcome = self._task.advance(self.memory, state, action)
        before, self.state = self._observation, state
        self._observation = self._task.observe(state, self.memory)
        self._steps += 1
        self._total_reward += float(outcome.reward[0])
        reason = End(int(outcome.end[0])).name.lower() if outcome.end[0] != End.NONE else frame.ended
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
        self._held = before, step, NOBODY if version is None else version
        if ends:
            self._release()
            self._episode = None

    def _release(self) -> None:
        if self._held is not None:
            self._record(*self._held)
            self._held = None

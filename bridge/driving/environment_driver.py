"""Drives environments of one's own with the newest policy, each step of all of them handed to the recorder.

Promises that what the policy saw and did is what is recorded, to the bit; that an environment that raises, and the end
of the drive, end the open episodes as truncated at their last whole step; and that nothing is stepped before there is a
policy. For that, the newest step is held back until the next one is whole.
"""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Discrete

from bridge.driving.drive import CannotDrive
from bridge.driving.hanging import Watch
from bridge.serve_env.checked import OutsideSpace
from experience.batches import MAX_REWARD, within
from experience.environment import Environment
from experience.policy_driver import CheckedActions, RunView, wait_for_run
from experience.recorder import Recorder
from racing.clock import Clock
from racing.driving import EpisodeEnd, Step
from racing.exploration import Exploration
from runtime.logs import fields

_LAST_LINES = 4
Rows = npt.NDArray[Any]
_log = logging.getLogger(__name__)


class EnvironmentDriver:
    """Steps N environments one after another, and begins a new episode where one has ended.

    Args:
        envs: of the same spaces; what they hand out is the caller's own (see `bridge.serve_env.checked`).
        environment: their name and spaces.
        clock: paces the steps; one that does nothing where time is simulated, or passes in `step` itself.
        run, recorder: policies come from the one, steps go to the other.
        real_time: wait for nothing but the first policy.
        seed: of starts and exploration; None for another one each time.
        now: time source, s.
    """

    over = False

    def __init__(
        self,
        envs: Sequence[gymnasium.Env[Any, Any]],
        environment: Environment,
        clock: Clock,
        run: RunView,
        recorder: Recorder,
        real_time: bool,
        seed: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._envs, self._name, self._clock, self._run = envs, environment.name, clock, run
        self._recorder, self._real_time, self._seed, self._now = recorder, real_time, seed, now
        self._observation, self._action = environment.spaces.observation, environment.spaces.action
        count, column = len(envs), self._action.column
        idle = np.zeros((count, column.size), column.dtype)
        if isinstance(self._action.space, Discrete):
            idle += self._action.space.start
        self._actions = CheckedActions(lambda: run.policy, Exploration(seed), self._applied(idle))
        self._rows: Rows = np.zeros((count, self._observation.column.size), self._observation.column.dtype)
        """(N, D) what the next actions are chosen on, once no episode has ended."""
        self._ended = np.ones(count, np.bool_)
        self._steps, self._returns = np.zeros(count, np.int64), np.zeros(count)
        self._held: tuple[Rows, Step, int] | None = None
        self._failed = False
        self.watch = Watch(environment.name)
        """Of what the environments' own code does not come back from."""
        self._read_at = self._called_at = 0.0

    @property
    def version(self) -> int:
        """Of the newest policy; 0 before the first."""
        policy = self._run.policy
        return 0 if policy is None else policy.version

    def waits_for(self) -> str | None:
        """The first policy; where time is simulated, the trainer or room, too."""
        return wait_for_run(self._run, self._recorder, self._real_time)

    def step(self) -> Step | None:
        """One step of all environments; None for one that is no experience. Raises CannotDrive where one raises."""
        self._begin_episodes()
        rows = self._rows
        self._clock.tick()
        seen = rows.astype(np.float32)
        # A number that is none spoils its own row, which is not recorded, and not those of the other environments.
        seen[~np.isfinite(seen)] = 0.0
        chosen, version = self._actions.choose(seen)
        action = self._applied(chosen)
        age, before, self._called_at = self._now() - self._read_at, self._called_at, self._now()
        off_period = self._clock.off_period(self._called_at - before)
        self._rows = np.empty_like(rows)
        count = len(self._envs)
        reward, ends = np.empty(count, np.float32), np.empty((2, count), np.bool_)
        for number, env in enumerate(self._envs):
            with self._lived("step"):
                observation, earned, ended, cut_off, info = env.step(self._in_space(action[number]))
                # None would become a number that is none, without a word.
                self._rows[number], reward[number] = self._row(observation), float(earned)
                ends[:, number] = ended, cut_off
                off_period |= info.get("off_period") is True
        self._read_at = self._now()
        self._steps += 1
        # As of what is collected: one that is no number would spoil the episode's record, and the batch that holds it.
        self._returns += np.where(within(reward, MAX_REWARD), reward, 0.0)
        self._ended = ends[0] | ends[1]
        step = Step(
            observation=self._rows,
            next_observation=self._rows,
            action=action,
            reward=reward,
            terminated=ends[0],
            truncated=ends[1],
            action_age=np.full(count, age, np.float32),
            off_period=off_period,
            laps=(),
            episodes=self._ends(self._ended, lambda number: "terminated" if ends[0, number] else "truncated"),
        )
        self._record()
        if version == 0 or self._run.done:
            return None
        self._held = rows, step, version
        return step

    def finish(self) -> None:
        """End the open episodes as truncated, and hand over what is held back."""
        if self._held is not None:
            rows, step, version = self._held
            still_open = ~(step.terminated | step.truncated)
            ended = self._ends(still_open, lambda _: "interrupted" if self._failed else "stopped")
            step = replace(step, truncated=step.truncated | still_open, episodes=(*step.episodes, *ended))
            self._held = rows, step, version
        self._record()

    def _record(self) -> None:
        if self._held is not None:
            self._recorder.record(*self._held)
        self._held = None

    def _ends(self, which: npt.NDArray[np.bool_], why: Callable[[int], str]) -> tuple[EpisodeEnd, ...]:
        return tuple(
            EpisodeEnd(number, int(self._steps[number]), float(self._returns[number]), why(number))
            for number in np.flatnonzero(which).tolist()
        )

    def _begin_episodes(self) -> None:
        if not self._ended.any():
            return
        rows = self._rows.copy()
        for number in np.flatnonzero(self._ended).tolist():
            with self._lived("reset"):
                observation, _ = self._envs[number].reset(seed=None if self._seed is None else self._seed + number)
                rows[number] = self._row(observation)
        self._seed = None
        self._steps[self._ended] = 0
        self._returns[self._ended] = 0.0
        self._rows, self._read_at = rows, self._now()
        if self._ended.all():
            self._clock.start()
            self._called_at = self._read_at
        self._ended = np.zeros(len(self._envs), np.bool_)

    def _applied(self, chosen: Rows) -> Rows:
        """The actions (N, A) as they are applied and recorded: of the space's dtype, on the grid, within the bounds."""
        column, space = self._action.column, self._action.space
        values = _on_grid(chosen, column.step).astype(column.dtype)
        if isinstance(space, Box) and column.step is None:
            values = np.clip(values, space.low.ravel(), space.high.ravel())
        return values

    def _in_space(self, row: Rows) -> Any:
        """One action as the environment takes it, which may do with it what it likes."""
        space = self._action.space
        return row[0] if isinstance(space, Discrete) else row.reshape(space.shape or ()).copy()

    def _row(self, observation: Any) -> Rows:
        values, shape = np.asarray(observation), self._observation.space.shape
        if values.shape != shape:
            raise ValueError(f"an observation has the shape {values.shape}, and {shape} is declared")
        return _on_grid(values.ravel(), self._observation.step)

    @contextmanager
    def _lived(self, what: str) -> Iterator[None]:
        """Whatever an environment does wrong in its own code ends the drive, in a sentence."""
        self.watch.began(what)
        try:
            yield
            # Here, too: whoever is about to be broken off is so within this block.
            self.watch.ended()
        except OutsideSpace as error:
            self._failed = True
            raise CannotDrive(str(error)) from error
        except KeyboardInterrupt:
            if not self.watch.broke_off:
                raise
            self._failed = True
            raise CannotDrive(
                f"The environment {self._name} hung in {what} when the drive was to end, and was broken off. What was "
                "driven until the last whole step is kept."
            ) from None
        except Exception as error:
            self._failed = True
            lines = " | ".join(line.strip() for line in traceback.format_exc().splitlines()[-_LAST_LINES:])
            raise CannotDrive(
                f"The environment {self._name} failed in {what}: {lines}. So the drive ends; what was driven until the "
                "last whole step is kept. Mend the environment, and drive again."
            ) from error
        finally:
            self.watch.ended()


def close_environments(envs: list[gymnasium.Env[Any, Any]]) -> None:
    """Close them, each once, and take them out; one that cannot be closed is said and left."""
    while envs:
        try:
            envs.pop().close()
        except Exception as error:
            _log.warning("an environment could not be closed", extra=fields(reason=repr(error)))


def _on_grid(values: Rows, step: float | None) -> Rows:
    """The nearest multiples of `step` that may travel; the values themselves where there is no grid."""
    if step is None:
        return values
    return np.clip(np.rint(values / step), -(2**15), 2**15 - 1) * step + 0.0

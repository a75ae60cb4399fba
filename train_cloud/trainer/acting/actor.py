"""Steps the environments of a PC by the policy that is being learned, and records what it lives as a bridge would.

Never waits, unless it is told to: what it asked is answered while others use the time. Promises that each step on the
PC is recorded at most once and none that was not made; that a PC that is lost ends the open episodes, truncated at
their last whole step; and that it goes on by itself when the PC, or another one, is there.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from experience.batches import MAX_NUMBER, MAX_REWARD, AnyArray, within
from experience.environment import Environment
from experience.recorder import Recorder
from experience.remote_calls import CallError, Made, Make
from experience.rows import batch_of_one, from_rows, leaf_values, to_rows
from experience.spaces import Spaces, SpaceSpec, leaves
from racing.driving import EpisodeEnd, Step
from runtime.logs import fields
from runtime.retry import Backoff
from train_cloud.remote.errors import NO_ANSWER, RemoteEnvError
from train_cloud.remote.stepping import Stepping
from train_cloud.run_config import RunConfig
from train_cloud.trainer.learning.sanity import check_sane
from wire.messages import EnvAction

SLOW_SECONDS = 2.0
"""A PC that has not answered for so long is told to be waited for."""
CLOSE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Actor:
    """Makes the environments of `config` on a PC behind the receiver's socket at `path`, and acts once it `begin`s."""

    def __init__(self, config: RunConfig, path: Path) -> None:
        chosen = config.environment
        self._config, self._name, self._count = config, chosen.id or "", chosen.num_envs
        make = Make(self._name, chosen.kwargs, self._count, AutoresetMode.SAME_STEP.value)
        self._stepping = Stepping(path, make, chosen.step_seconds, chosen.make_seconds)
        self._call: EnvAction | None = None
        self._called_at = self._try_at = 0.0
        self._made = False
        self._backoff = Backoff()
        self._refusal: str | None = None
        self._spaces: Spaces | None = None
        self._recorder: Recorder | None = None
        self._observations: Any = None
        """What to act on next, as rows; None where episodes are to be begun."""
        self._held: tuple[Any, Step, int] | None = None
        """What the newest step was chosen on, the step, and by which version.

        It is recorded when the next one is there; until then it may turn out to be the last of its episodes.
        """
        self._steps, self._totals = np.zeros(self._count, np.int64), np.zeros(self._count)
        """Of the open episodes."""
        self._acting = 0
        """The version that chose the newest step."""
        self._said = False
        """Whether rewards that cannot be learned from were told of."""
        self._answers, self._seconds = 0, np.zeros(2)
        self._means: list[float | None] = [None, None]

    def spaces(self) -> list[str]:
        """The canonical text of the made environment's spaces; none while a PC is waited for. Call it on and on."""
        self.turn(0)
        return [] if self._spaces is None else [self._spaces.text]

    def begin(
        self,
        environment: Environment,
        recorder: Recorder,
        act: Callable[[Any], Any],
        version: Callable[[], int],
        stored_steps: int,
    ) -> None:
        """Act from now on, in an `environment` of these spaces alone.

        `act` chooses the actions for observations, by the policy that `version` names; `stored_steps` are in the store.
        """
        self._environment, self._recorder, self._act, self._version = environment, recorder, act, version
        self._stored_before = stored_steps

    @property
    def pending_steps(self) -> int:
        """Recorded steps that the store does not hold yet."""
        return 0 if self._recorder is None else self._recorder.pending_steps

    def all_are_counted(self, steps: int) -> None:
        """The run has so many steps, and nothing that was recorded is on its way any more."""
        assert self._recorder is not None
        self._stored_before = steps - self._recorder.collected_steps

    @property
    def is_stepping(self) -> bool:
        """Whether the PC makes a step now, after which it waits for the next action."""
        return self._call is EnvAction.STEP

    def waits_for(self) -> str | None:
        """What it waits for outside of this process, in words; None while it goes on."""
        if self._refusal is not None:
            return f"an environment that can be stepped, because: {self._refusal}"
        if not self._made:
            many = "" if self._count == 1 else f" --num-envs {self._count}"
            return f"a PC that serves the environment: `ac-bridge serve-env --env {self._name}{many}`"
        if self._recorder is not None and not self._recorder.ready():
            return "room in the store"
        if self._call is not None and time.monotonic() - self._called_at > SLOW_SECONDS:
            return "the PC, which takes long to answer"
        return None

    def figures(self) -> dict[str, float | None]:
        """Means over the vector steps since the last time there were any, s; None before the first.

        `environment_seconds` were spent on the PC, `round_trip_seconds` until the answer was taken here, between two
        updates; `overhead_seconds` is the difference.
        """
        if self._answers:
            self._means = (self._seconds / self._answers).tolist()
        self._answers, self._seconds = 0, np.zeros(2)
        inside, whole = self._means
        overhead = None if inside is None or whole is None else whole - inside
        return {"environment_seconds": inside, "round_trip_seconds": whole, "overhead_seconds": overhead}

    def turn(self, most: int, seconds: float = 0.0) -> None:
        """Take an answer, waited for at most `seconds`, and ask for what comes next, of which the caller has need then.

        It asks for no step with which the run would have more than `most`. Raises StoreError and Diverged.
        """
        try:
            self._ask(most)
            if self._call is None:
                if self._recorder is not None and seconds:
                    # Nobody has anything to do but what is collected, of which there is no more for now.
                    self._recorder.flush()
                time.sleep(seconds)
                return
            answer = self._stepping.answer(seconds)
            if answer is not None:
                call, self._call = self._call, None
                self._take(call, answer)
                self._ask(most)
        except (RemoteEnvError, CallError) as error:
            self._failed(error)

    def close(self) -> None:
        """End the open episodes as stopped, commit everything, and have the PC close the environments."""
        self._interrupt("stopped")
        if self._recorder is not None:
            self._recorder.close()
        with suppress(RemoteEnvError):
            self._stepping.close(CLOSE_SECONDS)

    def _ask(self, most: int) -> None:
        """Begin the next call, unless one is under way or has to wait."""
        recorder = self._recorder
        if self._call is not None or time.monotonic() < self._try_at:
            return
        if not self._made:
            self._stepping.begin_make()
            self._called(EnvAction.MAKE)
        elif recorder is None:
            return
        elif recorder.failure is not None:
            raise recorder.failure
        elif self._has_enough(recorder, most) or not recorder.ready():
            return
        elif self._observations is None:
            # Another seed for each time, and the same ones for the same run.
            self._stepping.begin_reset((self._config.seed + self._stored_before + recorder.collected_steps) % 2**31)
            self._called(EnvAction.RESET)
        else:
            self._acting = self._version()
            self._actions = self._act(from_rows(self._environment.spaces.observation.space, self._observations))
            check_sane({"action": float(np.abs(self._actions).max())}, {})
            self._stepping.begin_step(self._actions)
            self._called(EnvAction.STEP)

    def _called(self, what: EnvAction) -> None:
        self._call, self._called_at = what, time.monotonic()

    def _has_enough(self, recorder: Recorder, most: int) -> bool:
        made = self._stored_before + recorder.collected_steps + (0 if self._held is None else self._count)
        if made >= self._config.total_timesteps:
            self._interrupt("stopped")
            return True
        return made + self._count > most

    def _take(self, call: EnvAction, answer: Any) -> None:
        try:
            match call:
                case EnvAction.MAKE:
                    self._take_made(answer)
                case EnvAction.RESET:
                    self._observations = self._rows(answer[0], self._count)
                case EnvAction.STEP:
                    self._take_step(*answer)
                    self._backoff.reset()
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            # Whoever serves may be another implementation, or hostile.
            raise RemoteEnvError("bad_answer", f"The PC answers {call} by what is no answer to it: {error}.") from None

    def _take_made(self, made: Made) -> None:
        observation, action = made.spaces()
        spaces = Spaces(SpaceSpec(observation), SpaceSpec(action))
        if self._recorder is not None and spaces != self._environment.spaces:
            raise RemoteEnvError(
                "other_spaces",
                f"the PC's {self._name} has other spaces than the run's ({spaces.text[:800]}; the run's are "
                f"{self._environment.spaces.text[:800]}). Serve the run's environment, or begin another run",
            )
        self._spaces, self._made, self._refusal = spaces, True, None
        _log.info("the PC has made the environment", extra=fields(environment=self._name, num_envs=self._count))

    def _rows(self, values: Any, count: int) -> AnyArray:
        """Observations of so many environments as rows, once they are what the spaces declare, and can be acted on."""
        assert self._spaces is not None
        space = self._spaces.observation.space
        for leaf, value in zip(leaves(space), leaf_values(space, values), strict=True):
            shape = (count, *(leaf.shape or ()))
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != leaf.dtype:
                kind = getattr(value, "dtype", type(value).__name__)
                raise ValueError(f"the observations are {kind} {np.shape(value)}, not {count} of {leaf}")
            if not within(value, MAX_NUMBER).all():
                raise ValueError(
                    f"an observation holds NaN or an infinite number, or one beyond {MAX_NUMBER:g}, on which nobody "
                    "can act"
                )
        return to_rows(space, values)

    def _take_step(self, observations: Any, rewards: Any, terminated: Any, truncated: Any, infos: Any) -> None:
        now, count = time.monotonic(), self._count
        following = led_to = self._rows(observations, count)
        reward = np.array(rewards, np.float64).reshape(count)
        terminated, truncated = (np.array(flags, np.bool_).reshape(count) for flags in (terminated, truncated))
        ended = terminated | truncated
        if ended.any():
            space, led_to = self._environment.spaces.observation.space, following.copy()
            for env in np.flatnonzero(ended):
                led_to[env] = self._rows(batch_of_one(space, infos["final_obs"][env]), 1)[0]
        collected = within(reward, MAX_REWARD)
        if not collected.all() and not self._said:
            self._said = True
            _log.warning(
                f"a reward is NaN, infinite or beyond {MAX_REWARD:g}; such steps are not collected (said once)"
            )
        self._record()
        self._steps += 1
        self._totals += np.where(collected, reward, 0.0)
        step = Step(
            observation=following,
            next_observation=led_to,
            action=to_rows(self._environment.spaces.action.space, self._actions),
            reward=np.where(collected, reward, np.nan).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            action_age=np.zeros(count, np.float32),
            off_period=False,
            laps=(),
            episodes=self._ends(ended, lambda env: "terminated" if terminated[env] else "truncated"),
        )
        self._held, self._observations = (self._observations, step, self._acting), following
        self._answers += 1
        self._seconds += self._stepping.channel.remote_seconds, now - self._called_at

    def _ends(self, ended: Any, reason: Callable[[int], str]) -> tuple[EpisodeEnd, ...]:
        """The episodes that end, and begin anew."""
        ends = tuple(
            EpisodeEnd(env, int(self._steps[env]), float(self._totals[env]), reason(env))
            for env in np.flatnonzero(ended).tolist()
        )
        self._steps[ended], self._totals[ended] = 0, 0.0
        return ends

    def _record(self) -> None:
        """Hand on the step that is held."""
        if self._held is not None and self._recorder is not None:
            self._recorder.record(*self._held)
            self._held = None

    def _interrupt(self, reason: str) -> None:
        """End the open episodes at their last whole step."""
        if self._held is not None:
            observation, step, version = self._held
            is_open = ~(step.terminated | step.truncated)
            ends = self._ends(is_open, lambda _: reason)
            step = replace(step, truncated=step.truncated | is_open, episodes=(*step.episodes, *ends))
            self._held = observation, step, version
            self._record()
        self._observations = None
        self._steps[:], self._totals[:] = 0, 0.0

    def _failed(self, error: RemoteEnvError | CallError) -> None:
        """The PC is lost, or refuses: begin anew, on whichever PC is there."""
        passes = isinstance(error, RemoteEnvError) and error.is_recoverable
        call, self._call = self._call, None
        if call is EnvAction.MAKE and isinstance(error, RemoteEnvError) and error.code == NO_ANSWER:
            # Nobody was there in all the time: the next try waits on.
            return
        if self._observations is not None:
            _log.warning("open episodes end at their last whole step", extra=fields(reason=error))
        self._interrupt("interrupted")
        self._made = False
        delay = self._backoff.seconds() if call is EnvAction.MAKE or not passes else 0.0
        self._try_at = time.monotonic() + delay
        self._refusal = str(error) if call is EnvAction.MAKE or not passes else None
        if self._refusal is not None:
            _log.error("the PC's environment cannot be stepped", extra=fields(reason=error, next_try=round(delay, 1)))

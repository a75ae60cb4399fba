"""A process that steps some environments of a vector, and the end of its pipe from which that is asked.

It answers nobody but the process that began it, over a pipe that these two alone hold; what travels there is pickled,
and was looked at before: what came over the network are plain values by then.
"""

import logging
import multiprocessing
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from threading import Thread
from typing import Any

import gymnasium

from bridge.serve_env.checked import Checked
from bridge.serve_env.making import make, told_of
from bridge.serve_env.offers import offers_of
from bridge.serve_env.refusals import Refusal, refusal_of
from experience.remote_calls import Make
from runtime.logs import configure_logging
from wire.messages import EnvErrorCode

CLOSE_SECONDS = 5.0
"""An environment that has not closed by then is ended with its process."""
_TRIAL_SECONDS, _TRIAL_STEPS = 0.25, 50
# The only way to begin a process that Windows has, and the only one that is safe beside threads.
_SPAWN = multiprocessing.get_context("spawn")

_log = logging.getLogger(__name__)

Call = tuple[int, str, tuple[Any, ...]]
"""Which of the worker's environments, what it is to do (a method of `_Environments`), and with what."""


class Worker:
    """A worker, for the process that began it; every method but `kill` is called in one thread.

    Once it has ended, calls raise Refusal: its environments are to be made anew.
    """

    def __init__(self, asked: Make) -> None:
        self._pipe, its = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(its, asked), name="environments", daemon=True)
        self._process.start()
        its.close()
        self._answers: deque[Any] = deque()
        self._awaited = False

    def begin(self, calls: Sequence[Call]) -> None:
        """Have these calls done, one after another until one raises; their answers are for `answer`."""
        if self._awaited:
            # What another worker's environment has raised kept it from being read.
            self._hear(None)
        self._answers.clear()
        try:
            self._pipe.send(calls)
        except OSError:
            raise self._ended() from None
        self._awaited = True

    def answer(self, seconds: float | None = None) -> Any:
        """What the next of the calls returned, waited for at most `seconds`; Refusal when there is nothing."""
        if self._awaited and not self._answers:
            self._hear(seconds)
        answer = self._answers.popleft()
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def let_go(self) -> None:
        """Have it close its environments and end."""
        self._pipe.close()

    def join(self) -> None:
        """Wait for its end, then for no more than CLOSE_SECONDS."""
        self._process.join(CLOSE_SECONDS)
        self.kill()
        self._process.join()

    def kill(self) -> None:
        """End it now, whatever it does; from any thread."""
        self._process.kill()

    def _hear(self, seconds: float | None) -> None:
        try:
            if seconds is not None and not self._pipe.poll(seconds):
                raise Refusal(EnvErrorCode.HANGS, f"The environment has not come back within {seconds:.0f} s.")
            self._awaited = False
            self._answers.extend(self._pipe.recv())
        except (EOFError, OSError):
            raise self._ended() from None

    def _ended(self) -> Refusal:
        self._process.join(CLOSE_SECONDS)
        return Refusal(
            EnvErrorCode.UNKNOWN_CLIENT,
            f"The process that stepped this environment has ended (exit code {self._process.exitcode}): it crashed, or "
            "somebody ended it. A reset makes the environment anew.",
        )


class _Environments:
    """The environments of one worker."""

    def __init__(self, asked: Make) -> None:
        self._asked = asked
        self._envs: list[Checked] = []

    def done(self, calls: Sequence[Call]) -> list[Any]:
        """What the calls returned, up to the first that raised: the Refusal that it comes to."""
        answers: list[Any] = []
        try:
            for index, what, arguments in calls:
                answers += getattr(self, what)(index, *arguments)
        except BaseException as error:
            # A game whose window is closed ends its process, as it thinks.
            answers.append(refusal_of(error))
        return answers

    def make(self, index: int) -> list[Any]:
        del self._envs[index:]
        env = make(offers_of([self._asked.name], Path.cwd())[self._asked.name], self._asked)
        self._envs.append(env)
        return [told_of(env.observation_space, env.action_space, env.metadata)]

    def reset(self, index: int, seed: int | None, options: dict[str, Any] | None) -> list[Any]:
        return [self._envs[index].reset(seed=seed, options=options)]

    def step(self, index: int, action: Any) -> list[Any]:
        stepped = self._envs[index].step(action)
        over = self._asked.autoreset_mode == "SameStep" and (stepped[2] or stepped[3])
        return [stepped, self._envs[index].reset()] if over else [stepped]

    def render(self, index: int) -> list[Any]:
        return [self._envs[index].render()]

    def trial(self, index: int) -> list[Any]:
        """The median time of a step by actions at random, s: what else the processor does is in few of them."""
        return [_step_seconds(self._envs[index])]

    def close(self) -> None:
        for env in self._envs:
            try:
                env.close()
            except Exception:
                _log.exception("an environment cannot be closed")


def _step_seconds(env: gymnasium.Env[Any, Any]) -> float:
    env.reset(seed=1)
    env.action_space.seed(1)
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < _TRIAL_STEPS and time.perf_counter() - began < _TRIAL_SECONDS:
        action, begins = env.action_space.sample(), time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        spent.append(time.perf_counter() - begins)
        if terminated or truncated:
            env.reset()
    return statistics.median(spent)


def _work(pipe: "Connection[Any, Any]", asked: Make) -> None:
    """The worker's life."""
    # A person's Ctrl-C is for the process that began it, which lets it go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    configure_logging("bridge")
    environments = _Environments(asked)
    with suppress(EOFError, OSError):
        while True:
            answers = environments.done(pipe.recv())
            try:
                pipe.send(answers)
            except OSError:
                raise
            except Exception as error:
                text = f"What the environment returned cannot travel: {error}."
                pipe.send([Refusal(EnvErrorCode.CANNOT_TRAVEL, text)])
    environments.close()


def _end_with_parent() -> None:
    """End when the process that began this one is gone, though an environment may hang."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(CLOSE_SECONDS)
    os._exit(1)

"""The environments of one vector, stepped in several processes: where their steps are slow enough to gain by it.

A step that is handed to another process costs about 0.1 ms more than one here, so that light environments stay in this
one. Nothing but a trial tells which are light, and a running environment cannot move: the first vector of its kind is
preceded by a trial, in a process of its own that is ended with all it has made.
"""

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate

from bridge.serve_env.refusals import Refusal
from bridge.serve_env.worker import Call, Worker
from experience.remote_calls import Made, Make
from experience.values import pack
from runtime.logs import fields

WORTH_IT_SECONDS = 0.5e-3
"""A step that takes so long is worth a process of its own."""
TRIAL_SECONDS = 60.0
"""An environment that is not made and stepped a few times by then gets no processes."""

_log = logging.getLogger(__name__)


class Processes:
    """How many processes step the environments of a vector: `most`, or as many as a trial says (None)."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._tried: dict[tuple[str, bytes], float] = {}

    def of(self, asked: Make) -> int:
        """How many for the vector that is asked for; it may take a trial's time to say so."""
        count = asked.count or 1
        if self._most is not None:
            return min(count, self._most)
        most = min(count, _processors())
        if most < 2:
            return 1
        key = asked.name, pack([asked.kwargs, asked.render_mode])
        if key not in self._tried:
            self._tried[key] = _tried(asked)
        return most if self._tried[key] >= WORTH_IT_SECONDS else 1


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tried(asked: Make) -> float:
    """The time of a step, s; 0 where it cannot be tried."""
    worker = Worker(asked)
    try:
        worker.begin([(0, "make", ()), (0, "trial", ())])
        worker.answer(TRIAL_SECONDS)
        seconds = float(worker.answer())
        _log.info("an environment was tried", extra=fields(environment=asked.name, step_ms=seconds * 1e3))
        return seconds
    except Refusal as refusal:
        _log.info("an environment cannot be tried", extra=fields(environment=asked.name, reason=refusal.text))
        return 0.0
    finally:
        worker.let_go()
        worker.join()


class ProcessVectorEnv(SyncVectorEnv):
    """As Gymnasium's own vector steps its environments, but each is a worker's, and they step at the same time.

    Each call is begun in all workers before the answers are gathered, in the order of the environments; the episodes
    that begin in the same step are begun by the workers themselves. Raises Refusal. The workers outlive it.
    """

    def __init__(self, workers: Sequence[Worker], asked: Make) -> None:
        count = asked.count or 1
        self._places = [
            (worker, index)
            for worker, part in zip(workers, np.array_split(np.arange(count), len(workers)), strict=True)
            for index in range(len(part))
        ]
        self._begin(dict.fromkeys(range(count), ("make", ())))
        envs = [partial(_Elsewhere, worker) for worker, _ in self._places]
        super().__init__(envs, copy=False, autoreset_mode=AutoresetMode(asked.autoreset_mode))

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, in all or where `options["reset_mask"]` says so."""
        count = self.num_envs
        seeds = [seed + number for number in range(count)] if isinstance(seed, int) else seed or [None] * count
        rest = dict(options or {})
        mask = rest.pop("reset_mask", np.ones(count, bool))
        if len(seeds) == count and isinstance(mask, np.ndarray) and mask.shape == (count,) and mask.dtype == bool:
            told = None if options is None else rest
            self._begin({number: ("reset", (seeds[number], told)) for number in np.flatnonzero(mask).tolist()})
        # What is none of these is refused in Gymnasium's own words.
        return super().reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all of them once."""
        begins = self._autoreset_envs & (self.autoreset_mode is AutoresetMode.NEXT_STEP)
        each = zip(iterate(self.action_space, actions), begins, strict=True)
        self._begin(
            {
                number: ("reset", (None, None)) if over else ("step", (action,))
                for number, (action, over) in enumerate(each)
            }
        )
        return super().step(actions)

    def render(self) -> tuple[Any, ...]:
        """What each of them renders."""
        self._begin(dict.fromkeys(range(self.num_envs), ("render", ())))
        return super().render()

    def _begin(self, calls: dict[int, tuple[str, tuple[Any, ...]]]) -> None:
        of_workers: dict[Worker, list[Call]] = {}
        for number, (what, arguments) in calls.items():
            worker, index = self._places[number]
            of_workers.setdefault(worker, []).append((index, what, arguments))
        for worker, its in of_workers.items():
            worker.begin(its)


class _Elsewhere(gymnasium.Env[Any, Any]):
    """A worker's environment, whose calls were begun: each brings its answer."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        made: Made = worker.answer()
        self.observation_space, self.action_space = made.spaces()
        self.metadata = made.metadata

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 - begun with them
        """What it returned."""
        return self._worker.answer()  # type: ignore[no-any-return]  # what a pipe brings

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ARG002 - begun with them
        """What it returned."""
        return self._worker.answer()  # type: ignore[no-any-return]  # what a pipe brings

    def render(self) -> Any:
        """What it returned."""
        return self._worker.answer()

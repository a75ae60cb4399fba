"""Judges policies in the simulator, by a child process with low priority; who asks never waits for it.

The newest policy that is asked for is judged next, and one that was waiting is dropped for it. A child that fails or
hangs costs its judgement and is replaced.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import msgspec

from experience.policy_driver import LAPS
from racing.evaluation import Judgement
from racing.link_model import LinkModel
from racing.task_config import TaskConfig
from runtime.logs import fields
from train_cloud.trainer.judging.child import Request
from train_cloud.trainer.saving.manifest import Checkpoint

HANGS_SECONDS = 900.0
"""A judgement takes seconds; a child that takes longer than this is ended when the next is asked for."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A checkpoint whose policy is to be judged, and the version that it is driven as."""

    checkpoint: Checkpoint
    version: int


class SimulatorJudge:
    """Judges policies of a task; its child is started with the first."""

    def __init__(self, task: TaskConfig, link: LinkModel | None = None) -> None:
        self._task, self._link = task, link
        self._changed = threading.Condition()
        self._waiting: tuple[Asked, bytes] | None = None
        self._judged: tuple[Asked, Judgement] | None = None
        self._began: float | None = None
        """When the judgement under way began; None while none is."""
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._run, name="judge", daemon=True).start()

    def ask(self, asked: Asked, policy: bytes, track: bytes) -> None:
        """Have `policy`, of the checkpoint `asked`, judged on a track (its text), unless a newer one comes before."""
        line = msgspec.json.encode(Request(self._task, track, policy, LAPS, self._link)) + b"\n"
        with self._changed:
            self._waiting = asked, line
            if self._began is not None and time.monotonic() - self._began > HANGS_SECONDS:
                self._end_child()
            self._changed.notify_all()

    def take(self) -> tuple[Asked, Judgement] | None:
        """The newest judgement that nobody has taken yet."""
        with self._changed:
            judged, self._judged = self._judged, None
            return judged

    def wait(self, seconds: float) -> bool:
        """Wait until all is judged that was asked for, at most so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and self._began is None, seconds)

    def close(self) -> None:
        """End the child, whatever it is at."""
        with self._changed:
            self._closed = True
            self._end_child()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._began = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed or self._waiting is None:
                    return
                (asked, line), self._waiting, self._began = self._waiting, None, time.monotonic()
            try:
                judgement = self._answer(line)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                with self._changed:
                    self._end_child()
                    if not self._closed:
                        told = fields(steps=asked.checkpoint.manifest.steps, reason=str(error))
                        _log.warning("a policy could not be judged: training goes on", extra=told)
                continue
            with self._changed:
                self._judged = asked, judgement

    def _answer(self, line: bytes) -> Judgement:
        with self._changed:
            if self._closed:
                raise ValueError("closed")
            if self._child is None or self._child.poll() is not None:
                command = [sys.executable, "-m", "train_cloud.trainer.judging.child"]
                pipe = subprocess.PIPE
                self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=os.environ | _ONE_THREAD)
            child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(line)
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer.endswith(b"\n"):
            raise ValueError("the judge's process ended without an answer")
        return msgspec.json.decode(answer, type=Judgement)

    def _end_child(self) -> None:
        """Under the lock; a thread that reads its answer sees its end."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

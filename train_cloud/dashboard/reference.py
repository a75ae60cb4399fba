"""The reference driver's lap of a track in the simulator, as laps are drawn: computed once, by a child of low priority.

The child is reference_drive.py.
"""

import logging
import os
import subprocess
import sys
import threading
from typing import Final

import msgspec

from racing.task_config import TaskConfig
from runtime.logs import fields
from train_cloud.lap_table import LapTrace

MOST_SECONDS: Final = 300.0
"""The longest track takes a slow machine one minute."""
SAMPLES: Final = 600
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

_log = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True):
    """The task, and the text of the track."""

    task: TaskConfig
    track: bytes


class ReferenceLap(msgspec.Struct, frozen=True):
    """The lap, and its time in each sector, s."""

    trace: LapTrace
    sectors: tuple[float, ...]


class Reference:
    """The reference laps of the tracks that it was asked for, the newest alone; who asks never waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = ""
        self._lap: ReferenceLap | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False

    def lap(self, sha256: str, track: bytes, task: TaskConfig) -> ReferenceLap | None:
        """The lap of the track of this hash and text; None while it is computed, or where it cannot be."""
        with self._lock:
            if sha256 != self._wanted and not self._closed:
                self._end_child()
                self._wanted, self._lap = sha256, None
                request = msgspec.json.encode(Request(task, track))
                threading.Thread(target=self._compute, args=(sha256, request), name="reference", daemon=True).start()
            return self._lap

    def close(self) -> None:
        """End the child, whatever it is at."""
        with self._lock:
            self._closed = True
            self._end_child()

    def _compute(self, sha256: str, request: bytes) -> None:
        with self._lock:
            if self._closed or self._wanted != sha256:
                return
            command, pipe = [sys.executable, "-m", "train_cloud.dashboard.reference_drive"], subprocess.PIPE
            child = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=os.environ | _ONE_THREAD)
            self._child = child
        try:
            answer, _ = child.communicate(request, timeout=MOST_SECONDS)
            found = msgspec.json.decode(answer, type=ReferenceLap)
        except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
            child.kill()
            child.wait()
            if self._wanted == sha256 and not self._closed:
                _log.warning("there is no reference lap for this track", extra=fields(reason=error))
            return
        with self._lock:
            if self._wanted == sha256:
                self._lap, self._child = found, None

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

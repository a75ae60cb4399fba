"""Stopping a process in its tracks, so that nothing of it runs on once that is said."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until


def freeze(pid: int) -> None:
    """SIGSTOP; returns when every thread has stopped: until then one that waits for input still takes what comes.

    SIGCONT lets it go on. A system without /proc is believed at once.
    """
    os.kill(pid, signal.SIGSTOP)
    if Path("/proc/self").exists():
        wait_until(lambda: _states(pid) == {"T"}, f"process {pid} has stopped")


def _states(pid: int) -> set[str]:
    """The states of all threads, by the letter that /proc gives them (proc_pid_stat(5)); "T" is stopped."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    # One that ends between the list and the look at it is no more of it the next time.
    with suppress(FileNotFoundError, ProcessLookupError):
        return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks}
    return set()

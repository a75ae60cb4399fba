"""Lets the control thread be on time: before other threads of ours, and before other work of this PC.

Promises nothing but the attempt: Windows lets an ordinary user raise a thread, Linux only who may use real-time
scheduling, or at least negative nice values. The control thread sleeps nearly all the time, so nothing else, the game
least of all, is kept from running.
"""

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NICE = -10
_REAL_TIME = 10
"""Of 1 to 99 among real-time threads; any of them comes before what is none."""
_NORMAL, _HIGHEST = 0, 2
_SWITCH_SECONDS = 0.001
"""How long another thread may hold the interpreter while the control thread wants it; Python's own is 5 ms."""
_log = logging.getLogger(__name__)


@contextmanager
def control_thread(real_time: bool) -> Iterator[None]:
    """Entered by the thread that drives, once all is made; `real_time`: it must not be late. All is as before after it.

    Threads that are started within do not come first.
    """
    # Nothing made so far is garbage soon; the collector need not look at it again while we drive.
    gc.collect()
    gc.freeze()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    first = real_time and put_this_thread_first()
    try:
        yield
    finally:
        if first:
            _lowered()
        sys.setswitchinterval(interval)
        gc.unfreeze()


def put_this_thread_first() -> bool:
    """Raise the calling thread's priority; whether the system agreed."""
    agreed = _raised()
    _log.debug("this thread goes before others" if agreed else "this thread has no priority")
    return agreed


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.GetCurrentThread.argtypes = ()
    _kernel32.GetCurrentThread.restype = wintypes.HANDLE
    _kernel32.SetThreadPriority.argtypes = (wintypes.HANDLE, ctypes.c_int)
    _kernel32.SetThreadPriority.restype = wintypes.BOOL

    def _raised() -> bool:
        return bool(_kernel32.SetThreadPriority(_kernel32.GetCurrentThread(), _HIGHEST))

    def _lowered() -> None:
        _kernel32.SetThreadPriority(_kernel32.GetCurrentThread(), _NORMAL)

elif sys.platform == "linux":
    # 0 is the calling thread, which on Linux has a policy and a nice value of its own.

    def _raised() -> bool:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_REAL_TIME))
            return True
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
            return True
        return False

    def _lowered() -> None:
        # Anybody may lower himself, but only root may take the flag away again.
        reset = os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, os.SCHED_OTHER | reset, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))

else:

    def _raised() -> bool:
        return False

    def _lowered() -> None:
        """Nothing was raised."""

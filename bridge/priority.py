"""Lets the control thread be on time: before other threads of ours, and before other work of this PC.

Promises nothing but the attempt: Windows lets an ordinary user raise a thread, Linux only who may use negative nice
values. The control thread sleeps nearly all the time, so nothing else, the game least of all, is kept from running.
"""

import gc
import logging
import os
import sys

_NICE = -10
_HIGHEST = 2
_SWITCH_SECONDS = 0.001
"""How long another thread may hold the interpreter while the control thread wants it; Python's own is 5 ms."""
_log = logging.getLogger(__name__)


def prepare_control_thread(real_time: bool) -> None:
    """To be called by the thread that drives, once all is made; `real_time`: it must not be late."""
    # Nothing made so far is garbage soon; the collector need not look at it again while we drive.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if real_time:
        put_this_thread_first()


def put_this_thread_first() -> bool:
    """Raise the calling thread's priority; whether the system agreed."""
    agreed = _raised()
    _log.debug("the control thread goes before others" if agreed else "the control thread has no priority")
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

elif sys.platform == "linux":

    def _raised() -> bool:
        try:
            # On Linux a thread has a nice value of its own; 0 is the calling one.
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        except OSError:
            return False
        return True

else:

    def _raised() -> bool:
        return False

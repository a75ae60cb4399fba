"""Puts the control thread before other work of this PC, where the system lets an ordinary user do that.

Promises nothing but the attempt: Windows allows it, Linux only to who may use negative nice values. The control thread
sleeps nearly all the time, so nothing else, the game least of all, is kept from running.
"""

import logging
import os
import sys

_NICE = -10
_HIGHEST = 2
_log = logging.getLogger(__name__)


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

"""`python -m scripts.processes.leash MODULE ARGUMENTS…` runs a module as if by `python -m`, on a leash: the pipe on its
standard input, held by the parent. When that pipe closes, because the parent let go or died in whatever way, the
module gets an orderly SIGTERM, and after GRACE_SECONDS its process ends. It works alike on Linux, macOS and Windows,
where no signal could be sent.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 45.0
"""How long a module may take for its orderly end; the receiver gives its last upload 30 s."""


def main() -> None:
    """Hold on to the leash, then become the module."""
    threading.Thread(target=_wait_for_the_end, name="leash", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _wait_for_the_end() -> None:
    while os.read(0, 1):
        pass
    if os.name == "nt":
        # os.kill would end the process at once there; this calls the handlers that the module has set.
        signal.raise_signal(signal.SIGTERM)
    else:
        # To the process, not to this thread: so it also wakes a main thread that waits in a system call.
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()

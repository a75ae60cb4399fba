"""Run in Windows: `python -m tests.wine.console PYTHON-ARGUMENTS...` runs Python in a console and presses keys there.

The line ctrl-c on standard input is that key; everything in the console gets it, as from a keyboard. Ends
with the exit code of what it runs, whose streams are its own.
"""

import ctypes
import signal
import subprocess
import sys
import threading

_EVENTS = {"ctrl-c": 0}


def main() -> int:
    """Run, and press what is asked for."""
    if sys.platform != "win32":
        raise OSError("there are no Windows consoles here")
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    # What was started from Linux has a console in name only, which takes no keys.
    kernel32.FreeConsole()
    if not kernel32.AllocConsole():
        raise ctypes.WinError(ctypes.get_last_error())
    signal.signal(signal.SIGINT, lambda *_: None)
    program = subprocess.Popen(
        [sys.executable, *sys.argv[1:]], stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stderr
    )

    def press() -> None:
        for line in sys.stdin:
            if not kernel32.GenerateConsoleCtrlEvent(_EVENTS[line.strip()], 0):
                raise ctypes.WinError(ctypes.get_last_error())

    threading.Thread(target=press, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main())

"""A signal lets a process end in order."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITER = (
    "import sys; from runtime.signals import stop_on_signals; stop = stop_on_signals()\n"
    "print('ready', flush=True)\n"
    "while not stop.wait(0.05): pass\n"
    "print('saved', flush=True); sys.exit(0)"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM between processes")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_lets_the_process_end_in_order(name: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", WAITER], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(getattr(signal, name))
    out, _ = child.communicate(timeout=120)
    assert out == "saved\n"
    assert child.returncode == 0

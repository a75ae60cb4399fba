"""A bridge that drives with a guard, in a process that can be killed, and how its guard's end is seen."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bridge.assetto_corsa.controls.supervisor import GuardLost, Supervised
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
_BRIDGE = """
import sys, time
from bridge.assetto_corsa.controls.{module} import {backend}
from bridge.assetto_corsa.controls.supervisor import Supervised
backend = Supervised({backend}(), hold_seconds=0.5)
backend.open()
print(backend.guard_pid, flush=True)
while True:
    backend.apply(1.0, 1.0, 0.0)
    time.sleep(0.02)
"""


def started(module: str, backend: str) -> tuple["subprocess.Popen[str]", int]:
    """A bridge that drives flat out to the left, and the process id of its guard."""
    bridge = subprocess.Popen(
        [sys.executable, "-c", _BRIDGE.format(module=module, backend=backend)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bridge.stdout is not None
    return bridge, int(bridge.stdout.readline())


def end(bridge: "subprocess.Popen[str]") -> None:
    bridge.kill()
    with bridge:
        bridge.wait()


def commanded(backend: Supervised, effect: Callable[[], bool], what: str) -> None:
    """Hold full throttle to the left until `effect`: the guard takes it away from whoever says it but once."""

    def held() -> bool:
        backend.apply(1.0, 1.0, 0.0)
        return effect()

    wait_until(held, what)


def commanded_until_lost(backend: Supervised) -> float:
    """What a command took, s, the median of those until one was refused because the guard is lost."""
    took: list[float] = []

    def lost() -> bool:
        began = time.perf_counter()
        try:
            backend.apply(1.0, 1.0, 0.0)
        except GuardLost:
            return True
        finally:
            took.append(time.perf_counter() - began)
        return False

    wait_until(lost, "the bridge notices", every=0.001)
    return statistics.median(took)

"""A bridge process with a script instead of a car: the real spool, recorder and link, and rows that everybody knows.

    AC_BRIDGE_URI=... python -m tests.support.scripted_bridge --spool DIR --seed 1 --cars 2 --ticks 1000 --hz 100

It makes tick after tick of `tests.support.script` and ends with exit code 0 when all of them are safe in the bucket.
Started again on the same spool after whatever end, it goes on after what the spool ever took, so that what was never
committed is made again, identically. The URI comes from the environment, as it holds the token.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bridge.link.exchange import Introduction
from bridge.link.link import Link
from bridge.spool import Spool
from experience import environment
from experience.recorder import Recorder
from runtime.exit_codes import ExitCode
from runtime.logs import configure_logging, fields
from runtime.signals import stop_on_signals
from tests.support.script import Script
from wire.pairing import parse_pairing

RACING = environment.racing()
URI = "AC_BRIDGE_URI"
_LOOK_SECONDS = 0.01

_log = logging.getLogger("scripted_bridge")


def main() -> int:
    """Produce, deliver, and say how it ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cars", type=int, required=True)
    parser.add_argument("--ticks", type=int, required=True)
    parser.add_argument("--hz", type=float, required=True, help="ticks a second")
    parser.add_argument("--flush-seconds", type=float, default=0.1)
    options = parser.parse_args()
    configure_logging("scripted-bridge")
    stop = stop_on_signals()
    introduction = Introduction(
        environment=RACING,
        real_time=True,
        cars=options.cars,
        software="scripted",
    )
    with Spool(options.spool) as spool:
        link = Link(parse_pairing(os.environ[URI]), spool, introduction)
        recorder = Recorder(
            spool,
            RACING.spaces.layout,
            options.cars,
            on_commit=link.notify,
            flush_seconds=options.flush_seconds,
            flush_steps=256,
        )
        link.start()
        try:
            produced = _produce(options, spool, recorder, link, stop.is_set)
            while not link.all_safe and link.refusal is None and not stop.wait(_LOOK_SECONDS):
                pass
        finally:
            recorder.close()
            link.close(timeout=0.0)
        if link.refusal is not None:
            _log.error(str(link.refusal))
            return link.refusal.exit_code
        if recorder.lost_steps or recorder.failure:
            _log.error("steps were lost before they reached the spool", extra=fields(steps=recorder.lost_steps))
            return ExitCode.FAILED
        version = link.policy.version if link.policy else 0
        _log.info("ended", extra=fields(produced=produced, batches=spool.last_number, weights_version=version))
        return ExitCode.OK if link.all_safe else ExitCode.INTERRUPTED


def _produce(
    options: argparse.Namespace, spool: Spool, recorder: Recorder, link: Link, stopped: Callable[[], bool]
) -> int:
    """Make the ticks that the spool never took, at the wanted rate; returns how many."""
    script, ticks = Script(options.seed, options.cars), int(options.ticks)
    first = spool.steps_of_car(0)
    assert all(spool.steps_of_car(car) == first for car in range(options.cars)), "a batch holds whole ticks"
    _log.info("producing", extra=fields(first_tick=first, ticks=ticks, stream=spool.stream))
    began = time.monotonic()
    for tick in range(first, ticks):
        due = began + (tick - first) / options.hz
        while time.monotonic() < due or not recorder.ready():
            if link.refusal is not None or stopped():
                return tick - first
            time.sleep(_LOOK_SECONDS)
        recorder.record(*script.step(tick))
    while recorder.pending_steps and recorder.failure is None:
        time.sleep(_LOOK_SECONDS)
    return ticks - first


if __name__ == "__main__":
    sys.exit(main())

"""The bridge of scripts/bench/realtime.py: `ac-bridge drive` on the game that runs, timed by its clock.

Reads a DriveWanted as JSON on standard input and prints Times as JSON. What is timed is what a user's bridge does; only
the clock notes when a step's controls were sent, and how late it woke.
"""

import sys
import threading
import time
from pathlib import Path

import msgspec

from bridge.assetto_corsa.session import GameSettings
from bridge.driving.garage import Settings, assembled_drive
from racing.clock import RealTimeClock
from runtime.logs import configure_logging
from wire.pairing import parse_pairing


class DriveWanted(msgspec.Struct, frozen=True):
    """What to drive: the pairing string, the rate in Hz, for how many s, the game's folder and the spool's."""

    uri: str
    rate: float
    seconds: float
    root: str
    spool: str


class Times(msgspec.Struct, frozen=True):
    """Step by step, in s: from one command to the next (resets left out), and how late the clock woke."""

    intervals: list[float]
    lateness: list[float]


class NotingClock(RealTimeClock):
    """A RealTimeClock that notes when it was asked to wait, which is right after the controls were sent."""

    def __init__(self, period: float) -> None:
        super().__init__(period)
        self.intervals: list[float] = []
        self.lateness: list[float] = []
        self._sent: float | None = None

    def start(self) -> None:
        """Begin a period; what lies before it is no interval."""
        super().start()
        self._sent = None

    def tick(self) -> None:
        """Wait as the clock does."""
        sent = time.perf_counter()
        if self._sent is not None:
            self.intervals.append(sent - self._sent)
        self._sent = sent
        due = self.deadline
        super().tick()
        self.lateness.append(time.perf_counter() - due)


def main() -> None:
    """Drive and print."""
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=DriveWanted)
    configure_logging("bridge")
    clock = NotingClock(1.0 / wanted.rate)
    settings = Settings(
        recording=None,
        track="",
        cars=1,
        rate=wanted.rate,
        real_time=True,
        task=(),
        spool=Path(wanted.spool),
        spool_limit_bytes=2**30,
        steps=None,
        seed=1,
        game=GameSettings(root=Path(wanted.root)),
    )
    stop = threading.Event()
    with assembled_drive(parse_pairing(wanted.uri), settings, stop, real_clock=lambda _: clock) as drive:
        threading.Timer(wanted.seconds, stop.set).start()
        drive.run()
    sys.stdout.buffer.write(msgspec.json.encode(Times(clock.intervals, clock.lateness)))


if __name__ == "__main__":
    main()

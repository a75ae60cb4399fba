"""Watches the game's pages for some seconds without touching anything, and says what was seen.

Promises that a game which is missing, broken or at rest is a result and no exception.
"""

import math
import statistics
import time
from collections.abc import Callable
from ctypes import sizeof
from dataclasses import dataclass
from itertools import pairwise

from bridge.assetto_corsa.reading.assumptions import AssumptionCheck, JudgedAssumption
from bridge.assetto_corsa.reading.layout import CAR_CONTROLS_PAGE, CarControls, Static, Status
from bridge.assetto_corsa.reading.memory import GameError, GameNotRunning, open_page
from bridge.assetto_corsa.reading.pages import GamePages, PageUnsteady, Snapshot

_POLL_SECONDS = 0.001
_ENOUGH = 20
"""Packets from which on the times between them say something."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of a game."""

    trouble: GameError | None = None  # why there is no game to be seen
    static: Static | None = None
    status: Status = Status.OFF  # what the game showed last
    speed: float = 0.0  # of the car at the end, m/s
    taken: bool = False  # CSP drives the car for somebody
    packets: float = 0.0  # of the physics page, a second
    pictures: float = 0.0  # packets of the graphics page, a second
    uneven: float = math.inf  # standard deviation of the times between pictures as a share of their mean; inf: too few
    longest_gap: float = 0.0  # s without a physics packet
    still: float = 0.0  # s since the last one
    silent: float = 0.0  # s since the last packet of either kind
    assumptions: tuple[JudgedAssumption, ...] = ()

    @property
    def live(self) -> bool:
        """Whether somebody can drive."""
        return self.trouble is None and self.status is Status.LIVE and self.packets > 0.0


def watch(seconds: float, stopped: Callable[[], bool], now: Callable[[], float] = time.perf_counter) -> Watched:
    """Watch for so many seconds, or until `stopped`."""
    with GamePages(now) as pages:
        try:
            return _watched(pages, seconds, stopped, now)
        except GameError as error:
            return Watched(trouble=error)


def wait_until_live(seconds: float, stopped: Callable[[], bool]) -> None:
    """Return once the game is LIVE and writes packets, or after so many seconds."""
    deadline = time.monotonic() + seconds
    with GamePages(csp=False) as pages:
        seen = 0
        while time.monotonic() < deadline and not stopped():
            try:
                snapshot = pages.read()
                seen += snapshot.status is Status.LIVE and not snapshot.duplicate
            except GameError:
                # It may still start.
                seen = 0
            if seen > 1:
                return
            time.sleep(0.02)


class _Counter:
    """Counts the packets that are seen: what the game counts without showing it is of no use to anybody."""

    def __init__(self, began: float) -> None:
        self.moments = [began]
        self._last: int | None = None

    def add(self, number: int, moment: float) -> None:
        if self._last is not None and number != self._last:
            self.moments.append(moment)
        self._last = number

    def per_second(self, until: float) -> float:
        """Over the whole time; between the first and the last one where these are enough to be exact."""
        seen = len(self.moments) - 1
        if seen > _ENOUGH:
            return (seen - 1) / (self.moments[-1] - self.moments[1])
        return seen / max(until - self.moments[0], 1e-3)

    @property
    def uneven(self) -> float:
        apart = [after - before for before, after in pairwise(self.moments[1:])]
        return statistics.pstdev(apart) / statistics.fmean(apart) if len(apart) >= _ENOUGH else math.inf


def _watched(pages: GamePages, seconds: float, stopped: Callable[[], bool], now: Callable[[], float]) -> Watched:
    static = pages.static()
    began = moved_at = now()
    check, physics, graphics = AssumptionCheck(), _Counter(began), _Counter(began)
    longest = 0.0
    snapshot: Snapshot | None = None
    while snapshot is None or (now() - began < seconds and not stopped()):
        try:
            snapshot = pages.read()
        except PageUnsteady:
            if snapshot is None:
                raise
            continue
        check.add(snapshot)
        if not snapshot.duplicate:
            longest = max(longest, snapshot.read_at - moved_at)
            moved_at = snapshot.read_at
        physics.add(snapshot.physics.packetId, snapshot.read_at)
        graphics.add(snapshot.graphics.packetId, snapshot.read_at)
        time.sleep(_POLL_SECONDS)
    ended = now()
    return Watched(
        static=static,
        status=snapshot.status,
        speed=snapshot.physics.speedKmh / 3.6,
        taken=snapshot.car is not None and _controls_there(),
        packets=physics.per_second(ended),
        pictures=graphics.per_second(ended),
        uneven=graphics.uneven,
        longest_gap=max(longest, ended - moved_at),
        still=ended - moved_at,
        silent=ended - max(physics.moments[-1], graphics.moments[-1]),
        assumptions=check.findings(),
    )


def _controls_there() -> bool:
    """Whether somebody offers CSP controls: a bridge that ended in order took its page away, and Car0 may stay."""
    try:
        open_page(CAR_CONTROLS_PAGE, sizeof(CarControls)).close()
    except GameError as error:
        # Or it is there, but not for us.
        return not isinstance(error, GameNotRunning)
    return True

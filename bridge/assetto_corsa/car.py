"""The real game's car, as the task and the bridge drive it: states from the pages, controls to a backend.

Promises that a state is of a packet that was not returned before, written by a game that is LIVE: in a pause, a menu or
a replay, when packets stand still, when the game is gone or the car was put elsewhere, there is no state but
NotDriving, and the controls are neutral. It waits for a packet for a moment and for nothing else; only `reset` takes
its time.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from bridge.assetto_corsa.controls import Backend
from bridge.assetto_corsa.layout import Status
from bridge.assetto_corsa.memory import GameError
from bridge.assetto_corsa.pages import GamePages, Snapshot
from bridge.assetto_corsa.state import StateReader
from racing.car import BoolArray, CarState, Controls

PATIENCE = 0.1
"""s that a read waits for the next packet; the game writes one every 3 to 17 ms."""
JUMP = 10.0
"""m by which a car may miss where its speed can have brought it; beyond, somebody moved it."""
_POLL = 0.0005

_WHAT_IS_SHOWN = {
    Status.OFF: "The game shows a menu: nothing is driven. Start the session with its Drive button.",
    Status.REPLAY: "The game shows a replay: nothing is driven. Leave the replay.",
    Status.PAUSE: "The game is paused: nothing is driven until it goes on.",
}


class NotDriving(GameError):
    """There is no state to drive from; the text says why.

    Attributes:
        status: what the game shows; LIVE when the car was moved; None when the game is gone or its packets stand still.
    """

    def __init__(self, text: str, status: Status | None) -> None:
        super().__init__(text)
        self.status = status


class AssettoCorsaCar:
    """One car in the running game; implements racing's Car.

    Args:
        pages: of the game.
        backend: open controls; closed with the car.
        start_afresh: brings the car to a start, verified, or raises a GameError that says why it cannot.
        states: makes states of snapshots.
        now, sleep: the clock (s, that of `pages`) and the wait; others than the default serve tests.

    Attributes:
        latest: the snapshot of the latest state; None before the first.
    """

    def __init__(
        self,
        pages: GamePages,
        backend: Backend,
        start_afresh: Callable[[], None],
        states: StateReader | None = None,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pages = pages
        self._backend = backend
        self._start_afresh = start_afresh
        self._states = states or StateReader()
        self._now, self._sleep = now, sleep
        self._packet: int | None = None
        self._before: tuple[CarState, float] | None = None
        self.latest: Snapshot | None = None

    @property
    def count(self) -> int:
        """One."""
        return 1

    def read(self) -> CarState:
        """The state of the newest packet, once it is another than that of the state before.

        Raises:
            NotDriving: there is none; the controls are neutral, and time stands still until the next state.
        """
        try:
            snapshot = self._next_packet()
            state = self._states.state(snapshot)
            self._check_moved(state, snapshot.read_at)
        except NotDriving:
            self._interrupt()
            raise
        except GameError as error:
            self._interrupt()
            raise NotDriving(str(error), None) from error
        self._before = (state, snapshot.read_at)
        self.latest = snapshot
        return state

    def apply(self, controls: Controls) -> None:
        """Send these controls to the game, which holds them until the next call."""
        self._backend.apply(float(controls.steer[0]), float(controls.throttle[0]), float(controls.brake[0]))

    def advance(self, seconds: float) -> None:
        """Do nothing: the game's time passes by itself."""

    def reset(self, which: BoolArray) -> None:
        """Bring the car to a start where `which` (1,) is true; raises the GameError of `start_afresh`."""
        if not which[0]:
            return
        self._interrupt()
        self._start_afresh()
        self._states.restart()

    def close(self) -> None:
        """Leave the controls neutral and let go of the game; safe to call twice."""
        self._backend.close()
        self._pages.close()

    def _next_packet(self) -> Snapshot:
        deadline = self._now() + PATIENCE
        while True:
            snapshot = self._pages.read()
            if snapshot.status is not Status.LIVE:
                raise NotDriving(_WHAT_IS_SHOWN[snapshot.status], snapshot.status)
            packet = snapshot.physics.packetId
            if self._packet is not None and packet != self._packet:
                self._packet = packet
                return snapshot
            # The first packet that is seen may be what a dead game left behind; the next one cannot.
            self._packet = packet
            if self._now() > deadline:
                raise NotDriving(
                    f"The game has written nothing for {PATIENCE:g} s: it is loading, hangs, or has ended and left its "
                    "shared memory behind. If it stays so, restart the game (under Proton, simshmbridge as well).",
                    None,
                )
            self._sleep(_POLL)

    def _check_moved(self, state: CarState, read_at: float) -> None:
        """Notice a restart of the session or a return to the pits that was not our reset."""
        if self._before is None:
            return
        before, before_at = self._before
        speed = max(float(np.hypot(*before.velocity[0])), float(np.hypot(*state.velocity[0])))
        moved = math.dist(before.position[0], state.position[0])
        if moved > speed * (read_at - before_at) + JUMP:
            raise NotDriving(
                f"The car was moved by {moved:.0f} m at once: the session was restarted or the car brought to the "
                "pits. Driving begins anew from there.",
                Status.LIVE,
            )

    def _interrupt(self) -> None:
        self._backend.neutral()
        self._states.interrupt()
        self._packet = None
        self._before = None

"""The real game's car, as the task and the bridge drive it: states from the pages, controls to a backend.

Promises that a state is of a packet that was not returned before, written by a game that is LIVE: in a pause, a menu or
a replay, when packets stand still, when the game is gone, CSP has let go of the car, the car was put elsewhere or
nobody looked for too long, there is no state but NotDriving, and the controls are neutral. It waits for a packet for a
moment and for nothing else; only `reset` takes its time.
"""

import logging
import math
import time
from collections.abc import Callable

import numpy as np

from bridge.assetto_corsa.controls.controls import Backend, BackendUnavailable, Command
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.guard import HEARTBEAT_SECONDS
from bridge.assetto_corsa.reading.layout import Graphics, Status
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages, Snapshot
from bridge.assetto_corsa.reading.state import CarMoved, StateReader
from racing.car import BoolArray, CarState, Controls

PATIENCE = 0.1
"""s that a read waits for the next packet; the game writes one every 3 to 17 ms."""
JUMP = 10.0
"""m by which a car may miss where its speed can have brought it; beyond, somebody moved it."""
SPEED_JUMP = 15.0
"""m/s by which a car's speed may change beyond what brakes and tyres do to it, unless it hits something."""
HARDEST_BRAKING = 60.0
"""m/s^2 that no car's brakes, tyres and engine reach."""
ASK_AGAIN_SECONDS = 3.0
"""For so long a car that CSP has let go of is waited for before new controls are offered, and between such offers."""
_POLL = 0.0005
_LAP_CLOCK_JUMP = 1000
"""ms by which the lap's clock may go back: its pictures are not written in step with packets."""

_log = logging.getLogger(__name__)

_NOTHING_WRITTEN = (
    f"The game has written nothing for {PATIENCE:g} s: it is loading, hangs, or has ended and left its shared memory "
    "behind. If it stays so, restart the game (under Proton, simshmbridge as well)."
)
_CSP_LET_GO = (
    "The Custom Shaders Patch has let go of the car: its data of it stand still, so no command reaches the game. It is "
    "asked to take it over again. If it stays so, restart the session in the game."
)
_WHAT_IS_SHOWN = {
    Status.OFF: "The game shows a menu: nothing is driven. Start the session with its Drive button.",
    Status.REPLAY: "The game shows a replay: nothing is driven. Leave the replay.",
    Status.PAUSE: "The game is paused: nothing is driven until it goes on.",
}


class NotDriving(GameError):
    """There is no state to drive from; the text says why.

    `status` is what the game shows; LIVE also when what was driven is no step; None when it is gone or stands still.
    """

    def __init__(self, text: str, status: Status | None) -> None:
        super().__init__(text)
        self.status = status


class _LetGo(NotDriving):
    """CSP has let go of the car."""


def command_of(controls: Controls) -> Command:
    """What these controls ask of one car."""
    return Command(float(controls.steer[0]), float(controls.throttle[0]), float(controls.brake[0]))


class AssettoCorsaCar:
    """One car in the running game; implements racing's Car.

    Args:
        pages: of the game.
        backend: open controls; closed with the car.
        start_afresh: brings the car to a start, verified, or raises a GameError that says why it cannot.
        ask_again: offers CSP new controls when it has let go of the car, since it may not look at the old ones any
            more; may raise BackendUnavailable. None: it is only waited for.
        now, sleep: the clock (s, that of `pages`) and the wait.
        bears: s without a packet or a look that are no interruption, where nobody lets go of the car for that; less
            than PATIENCE and HEARTBEAT_SECONDS counts as these.

    Attributes: latest: the snapshot of the latest state; None before the first.
    """

    count = 1

    def __init__(
        self,
        pages: GamePages,
        backend: Backend,
        start_afresh: Callable[[], None],
        states: StateReader | None = None,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        ask_again: Callable[[], None] | None = None,
        bears: float = 0.0,
    ) -> None:
        self._pages, self._backend, self._start_afresh = pages, backend, start_afresh
        self._states = states or StateReader()
        self._now, self._sleep = now, sleep
        self._by_csp = backend.name == CustomAI.name
        self._ask_again, self._bears = ask_again, bears
        self._let_go_since: float | None = None
        self._packet: int | None = None
        self._before: tuple[CarState, Snapshot] | None = None
        self.latest: Snapshot | None = None

    def read(self) -> CarState:
        """The state of the newest packet, once it is another than that of the state before.

        Raises NotDriving when there is none; the controls are neutral, and time stands still until the next state. It
        takes seconds only where CSP is asked to take over the car that it has let go of.
        """
        try:
            snapshot = self._next_packet()
            state = self._states.state(snapshot)
            self._check_whole(state, snapshot)
        except _LetGo:
            self._interrupt()
            self._offer_anew()
            raise
        except NotDriving:
            self._interrupt()
            self._let_go_since = None
            raise
        except GameError as error:
            self._interrupt()
            raise NotDriving(str(error), Status.LIVE if isinstance(error, CarMoved) else None) from error
        self._before, self.latest = (state, snapshot), snapshot
        self._let_go_since = None
        return state

    def apply(self, controls: Controls) -> None:
        """Send these controls to the game, which holds them until the next call."""
        self._backend.apply(*command_of(controls))

    def advance(self, seconds: float) -> None:
        """Do nothing: the game's time passes by itself."""

    def reset(self, which: BoolArray) -> None:
        """Bring the car to a start where `which` (1,) is true; raises the GameError of `start_afresh`."""
        if which[0]:
            self._interrupt()
            self._start_afresh()
            self._states.restart()

    def restart(self) -> None:
        """An episode begins where the car is: hits of before no longer count, and nothing is commanded."""
        self._packet = self._before = None
        self._states.restart()

    def close(self) -> None:
        """Leave the controls neutral and let go of the game; safe to call twice."""
        self._backend.close()
        self._pages.close()

    def _next_packet(self) -> Snapshot:
        deadline = self._now() + max(PATIENCE, self._bears)
        while True:
            snapshot = self._pages.read()
            if snapshot.status is not Status.LIVE:
                raise NotDriving(_WHAT_IS_SHOWN[snapshot.status], snapshot.status)
            packet = snapshot.physics.packetId
            # The first packet that is seen may be what a dead game left behind; the next one cannot.
            new = self._packet is not None and packet != self._packet
            if new and (snapshot.car is not None or not self._by_csp):
                self._packet = packet
                return snapshot
            if self._packet is None:
                self._packet = packet
            if self._now() > deadline:
                raise _LetGo(_CSP_LET_GO, Status.LIVE) if new else NotDriving(_NOTHING_WRITTEN, None)
            self._sleep(_POLL)

    def _check_whole(self, state: CarState, snapshot: Snapshot) -> None:
        """Notice what is no step: a bridge that stood still, a restart or a return to the pits that was not our reset.

        Raises NotDriving and CarMoved.
        """
        if self._before is None:
            return
        before, then = self._before
        passed = snapshot.read_at - then.read_at
        if passed > max(HEARTBEAT_SECONDS, self._bears):
            raise NotDriving(
                f"Nothing was read for {passed:.1f} s: this PC slept, or the bridge stood still, and the car was "
                "braked meanwhile. Driving begins anew.",
                Status.LIVE,
            )
        slower, faster = sorted(float(np.hypot(*each.velocity[0])) for each in (before, state))
        moved = math.dist(before.position[0], state.position[0])
        if moved > faster * passed + JUMP:
            what = f"was moved by {moved:.0f} m at once"
        elif faster - slower > SPEED_JUMP + HARDEST_BRAKING * passed and not state.collided[0]:
            what = f"changed its speed by {faster - slower:.0f} m/s at once without a hit"
        elif _lap_taken_back(then.graphics, snapshot.graphics):
            what = "has begun its lap anew"
        else:
            return
        raise CarMoved(what)

    def _offer_anew(self) -> None:
        """Offer CSP new controls, if the car has not been ours for a while."""
        since = self._let_go_since = self._now() if self._let_go_since is None else self._let_go_since
        if self._ask_again is None or self._now() - since < ASK_AGAIN_SECONDS:
            return
        try:
            self._ask_again()
        except BackendUnavailable as unavailable:
            _log.debug("CSP was asked again: %s", unavailable)
        self._let_go_since = self._now()

    def _interrupt(self) -> None:
        self._backend.neutral()
        self._states.interrupt()
        self._packet = self._before = None


def _lap_taken_back(then: Graphics, now: Graphics) -> bool:
    """Whether laps or the lap's clock went back other than at the line, where the clock begins anew by itself."""
    if now.completedLaps < then.completedLaps:
        return True
    # Crossed from near 1 to near 0; a track without the game's line is at 0 all along.
    at_line = now.normalizedCarPosition < 0.5 * then.normalizedCarPosition or now.normalizedCarPosition == 0.0
    went_back = now.iCurrentTime < then.iCurrentTime - _LAP_CLOCK_JUMP
    return went_back and now.completedLaps == then.completedLaps and not at_line

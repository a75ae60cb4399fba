"""The game's car with what must stop a policy in front of it: panic key, lost window, human at the wheel, deaf game.

Promises that there is no state, and with it no step and no experience, while the policy must not drive; that the
controls are neutral then, or released while a human drives; and that nothing reaches a car whose guard is gone, or that
another bridge has taken. What counts is decided in safety.py and obedience.py.
"""

import time
from collections.abc import Callable

from bridge.assetto_corsa.car import AssettoCorsaCar, NotDriving, command_of
from bridge.assetto_corsa.controls.controls import NEUTRAL, RELEASED, Backend, BackendUnavailable, Command
from bridge.assetto_corsa.controls.obedience import Obedience
from bridge.assetto_corsa.controls.safety import SafetyGate
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.memory import GameError
from racing.car import BoolArray, CarState, Controls

_NO_PACKET = -1


class NotObeyed(NotDriving):
    """The game has stopped following the controls that it is given; the text says which."""


class GuardedCar:
    """One car in the running game; implements racing's Car, closes `car` with it. `backend` is the same car's."""

    count = 1

    def __init__(
        self, car: AssettoCorsaCar, backend: Backend, gate: SafetyGate, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._car, self._backend, self._gate, self._now = car, backend, gate, now
        self._obedience = Obedience()
        self._commanded = NEUTRAL
        self._driven = False
        self._guard_lost = False

    def read(self) -> CarState:
        """The state of a new packet; raises NotDriving when there is none, or the policy must not drive.

        NotObeyed among them: the game does not follow what `apply` gave it.
        """
        state, measured, reason = self._looked()
        if reason is not None:
            raise NotDriving(f"The policy does not drive: {reason}.", Status.LIVE)
        if self._driven and (wrong := self._obedience.update(self._now(), self._commanded, measured)) is not None:
            self._let_be()
            self._command(NEUTRAL)
            raise NotObeyed(f"The policy does not drive: {wrong}.", Status.LIVE)
        return state

    @property
    def human_drives(self) -> bool:
        """Whether a human had the wheel when the car was read last."""
        return self._gate.human_drives

    def watch(self) -> CarState:
        """The state of a new packet while a human drives; raises NotDriving when there is none, or nobody does."""
        state, _, reason = self._looked()
        if not self.human_drives:
            raise NotDriving(f"No human drives: {reason or 'the wheel was let go of'}.", Status.LIVE)
        return state

    def begin_anew(self) -> None:
        """An episode begins where the car is: hits of before no longer count."""
        self._car.restart()

    @property
    def doubtful_since(self) -> float | None:
        """From when on (s, as `now` says) what the car did may not be the policy's doing; None where it is."""
        doubts = (self._gate.doubtful_since, self._obedience.doubtful_since)
        return min((since for since in doubts if since is not None), default=None)

    def why_not(self) -> str | None:
        """Why nothing can be driven now, a sentence; None when it can. Takes as long as `read`."""
        try:
            self.read()
        except NotDriving as interruption:
            return str(interruption)
        return None

    def apply(self, controls: Controls) -> None:
        """Send these controls; raises BackendUnavailable once, when the guard or the car itself is lost to us."""
        self._driven = True
        self._command(command_of(controls))

    def neutral(self) -> None:
        """Roll out under a gentle brake."""
        self._let_be()
        self._backend.neutral()

    def advance(self, seconds: float) -> None:
        """Do nothing: the game's time passes by itself."""

    def reset(self, which: BoolArray) -> None:
        """Bring the car to a start, neutral if that fails; raises GameError, and BackendUnavailable as `apply` does."""
        self._let_be()
        try:
            self._car.reset(which)
        except GameError:
            self._backend.neutral()
            raise
        except BackendUnavailable:
            self._guard_lost = True
            raise
        self._gate.forget()

    def close(self) -> None:
        """Leave the controls neutral and let go of the game; safe to call twice."""
        self._car.close()

    def _looked(self) -> tuple[CarState, Command, str | None]:
        """The state of a new packet, the controls that it shows, and why the policy must not drive, which it then does
        not; raises NotDriving where there is no state.
        """
        try:
            state = self._car.read()
        except NotDriving:
            self._let_be()
            # A hit of the panic key counts in a pause, too.
            self._gate.reason(self._now(), False, _NO_PACKET, NEUTRAL, NEUTRAL, 0.0)
            raise
        latest = self._car.latest
        assert latest is not None
        physics = latest.physics
        measured = Command(-physics.steerAngle, physics.gas, physics.brake)
        speed = physics.speedKmh / 3.6
        reason = self._gate.reason(self._now(), True, physics.packetId, self._commanded, measured, speed)
        if reason is not None:
            self._let_be()
            self._command(RELEASED if self.human_drives else NEUTRAL)
        return state, measured, reason

    def _let_be(self) -> None:
        """Nobody drives, so that nothing is to be followed."""
        self._commanded, self._driven = NEUTRAL, False
        self._obedience.forget()

    def _command(self, command: Command) -> None:
        self._commanded = command
        if self._guard_lost:
            return
        try:
            self._backend.apply(*command)
        except BackendUnavailable:
            self._guard_lost = True
            raise

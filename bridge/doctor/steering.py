"""Tries the controls: which of them answer, and, when asked to, whether the game steers as they say.

Promises never to give throttle, and to try nothing while the car moves, or a bridge drives it through CSP or has one of
the devices: taking the controls from a driver is worse than not knowing. Turning the wheels needs `move` and a standing
car, which is braked meanwhile; it is given up as soon as the car rolls.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing

from bridge.assetto_corsa.controls.controls import Backend, BackendUnavailable
from bridge.assetto_corsa.controls.csp import CustomAI
from bridge.assetto_corsa.controls.device_lock import InUse, take
from bridge.assetto_corsa.reading.layout import Status
from bridge.assetto_corsa.reading.memory import GameError
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.doctor.messages import Finding, Message, found
from bridge.doctor.watching import Watched

STANDING = 1.0
"""m/s, as for a reset."""
ASKED = 0.3
"""Share of full lock to either side."""
TURN_SECONDS = 1.0
"""The wheels are given so long; a pad's filter takes most of it."""
_BRAKE = 0.6
_POLL_SECONDS = 0.01
_LEAST, _FULL, _MOST = 0.15, 0.8, 1.3
"""Shares of what was asked for: below it nothing follows; from it on all does; above it the scale is another."""


def control_findings(watched: Watched, backends: Sequence[Backend], move: bool) -> Iterator[Finding]:
    """One finding for each of the controls, then one about steering."""
    if watched.live and watched.taken:
        yield found(Message.CONTROLS_TAKEN)
    elif watched.live and watched.speed > STANDING:
        yield found(Message.CONTROLS_MOVING, speed=f"{3.6 * watched.speed:.0f}")
    elif (taken := next((backend.name for backend in backends if _in_use(backend)), None)) is not None:
        yield found(Message.CONTROLS_IN_USE, backend=taken)
    else:
        with ExitStack() as locks:
            yield from _tried(watched, backends, move, locks)
        return
    yield found(Message.STEER_NOT_NOW) if move else found(Message.STEER_UNASKED)


def _in_use(backend: Backend) -> bool:
    """Whether another bridge has this pad or joystick; not where its lock cannot be used, which its trial says."""
    try:
        with ExitStack() as lock:
            _lock(backend, lock)
    except BackendUnavailable as error:
        return isinstance(error, InUse)
    return False


def _lock(backend: Backend, locks: ExitStack) -> None:
    """Keep bridges from it until `locks` ends, except from CSP's page, which says itself who drives."""
    if backend.name != CustomAI.name:
        locks.enter_context(closing(take(backend.name, 0.0)))


def _why_not(backend: Backend, locks: ExitStack) -> str | None:
    try:
        _lock(backend, locks)
        why = backend.why_not()
        # CSP does nothing with a page that was made before it was ready, but with the next one.
        return backend.why_not() if why is not None and backend.name == CustomAI.name else why
    except BackendUnavailable as unavailable:
        return str(unavailable)


def _tried(watched: Watched, backends: Sequence[Backend], move: bool, locks: ExitStack) -> Iterator[Finding]:
    answering: list[Backend] = []
    untried = False
    for backend in backends:
        if backend.name == CustomAI.name and not watched.live:
            untried = True
            yield found(Message.CONTROLS_NO_GAME, backend=backend.name)
        elif (why := _why_not(backend, locks)) is None:
            answering.append(backend)
            yield found(Message.BACKEND, backend=backend.name)
        else:
            yield found(Message.BACKEND_NOT, backend=backend.name, reason=why)
    if not answering and not untried:
        yield found(Message.NO_BACKEND)
    if not move:
        yield found(Message.STEER_UNASKED)
    elif not answering or not watched.live:
        yield found(Message.STEER_NOT_NOW)
    else:
        yield _steering(answering[0])


def _steering(backend: Backend) -> Finding:
    try:
        backend.open()
        with GamePages() as pages:
            left, right = _turned(backend, pages, ASKED), _turned(backend, pages, -ASKED)
    except (BackendUnavailable, GameError) as error:
        return found(Message.STEER_LOST, reason=error)
    finally:
        backend.close()
    if left is None or right is None:
        return found(Message.STEER_ROLLED)
    # The game's steerAngle is positive to the right, and 1 at full lock.
    share = (right - left) / (2.0 * ASKED)
    answers = {
        Message.STEER_IGNORED: abs(share) < _LEAST,
        Message.STEER_REVERSED: share < 0.0,
        Message.STEER_SCALE: share > _MOST,
        Message.STEER_FILTERED: share < _FULL,
        Message.STEERS: True,
    }
    return found(next(filter(answers.get, answers)), backend=backend.name, share=f"{share:.0%}")


def _turned(backend: Backend, pages: GamePages, steer: float) -> float | None:
    """steerAngle after TURN_SECONDS of this steering; None once the car rolls. Raises GameError when it ends."""
    until = time.monotonic() + TURN_SECONDS
    while True:
        backend.apply(steer, 0.0, _BRAKE)
        snapshot = pages.read()
        if snapshot.status is not Status.LIVE:
            raise GameError("the game is not live any more")
        if snapshot.physics.speedKmh / 3.6 > STANDING:
            return None
        if time.monotonic() >= until:
            return float(snapshot.physics.steerAngle)
        time.sleep(_POLL_SECONDS)

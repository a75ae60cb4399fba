"""Says when the policy must not drive: the game is not live, its window is lost, a human drives, somebody hit panic.

Promises pure decisions over what it is given (SafetyGate, HumanAtTheWheel: no clock, no device of their own) and small
readers for what only the system knows (the panic key, the foreground window). Neutral controls for a bridge that dies
or hangs are not decided here: supervisor.py's process does that. What a human does is seen only as far as the game
shows it: while CSP has taken the car over, the game ignores wheel and pedals, and the panic key is the way to stop.
"""

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.assetto_corsa.controls.controls import Command

PACKET_SECONDS = 0.5
"""Without a new packet for so long the game hangs, loads or is gone."""
GAME_PROGRAMS = ("acs.exe", "acs_x86.exe")
"""The programs that are the game, and not its launcher."""
UNKNOWN_SECONDS = 0.5
"""For so long Windows may name no window in front, as while one is changed for another; a locked screen has none."""
KEY_SECONDS = 0.008
"""How often the panic key is looked at; no finger is as short."""
MOVING = 1.0
"""m/s; a car that is slower stands."""
PANIC_KEYS = {"end": 0x23, "home": 0x24, "pause": 0x13, "f8": 0x77}
"""Windows' virtual key codes of the keys that may be the panic key; none is bound in the game by default."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the game may be from what we command before somebody else must be at the controls.

    A gamepad's steering arrives filtered and late, so the measured value is compared with all that was commanded in
    the last `window` seconds; only beyond that range by more than the tolerance, and for `delay` seconds on end, does
    it count. The throttle is let alone by default: traction control, blips and the limiter change it.

    A human who drives keeps the car until nothing has been touched for a while, pedals and wheel alike, to within
    `touched`: nothing is commanded then, and a car that coasts untouched is more often between two pedals than given
    back, so a car that moves takes longer.

    Attributes: steer: of full lock; brake, throttle: of the pedal, None to ignore it; window, delay: s; touched: of
    full lock or of a pedal; release, release_moving: for so long, s, nothing may be touched before the policy drives
    again a car that stands, or moves.
    """

    steer: float = 0.2
    brake: float | None = 0.25
    throttle: float | None = None
    window: float = 0.4
    delay: float = 0.3
    touched: float = 0.1
    release: float = 2.0
    release_moving: float = 6.0


class HumanAtTheWheel:
    """Whether a human drives, from what we command and what the game shows; to be told of every step.

    `tolerance` is None where nobody is to be looked for.
    """

    def __init__(self, tolerance: Tolerance | None) -> None:
        self._tolerance = tolerance
        self._commanded: deque[tuple[float, Command]] = deque()
        self._strange_since: float | None = None
        self._quiet_since: float | None = None
        self.driving = False

    @property
    def doubtful_since(self) -> float | None:
        """From when on (s) what the game shows is not ours, though not for long enough to be a human yet; else None."""
        return self._strange_since

    def update(self, now: float, commanded: Command, measured: Command, speed: float) -> bool:
        """Whether a human drives now, `now` s on a monotonic clock.

        `commanded` is what the backend was given last (RELEASED while a human drives), `measured` what the game shows,
        `speed` the car's, m/s.
        """
        tolerance = self._tolerance
        if tolerance is None:
            return False
        # The newest command too: it is what the game follows while we steer.
        self._commanded.append((now, commanded))
        while len(self._commanded) > 1 and self._commanded[1][0] < now - tolerance.window:
            self._commanded.popleft()
        if self.driving:
            self._look_for_the_end(now, measured, speed, tolerance)
        elif not self._strange(measured, tolerance):
            self._strange_since = None
        else:
            self._strange_since = now if self._strange_since is None else self._strange_since
            if now - self._strange_since >= tolerance.delay:
                self.driving, self._quiet_since = True, None
        return self.driving

    def forget(self) -> None:
        """Begin anew after a time in which nothing was commanded: a pause, a reset. Who drives, drives on."""
        self._commanded.clear()
        self._strange_since = self._quiet_since = None

    def _look_for_the_end(self, now: float, measured: Command, speed: float, tolerance: Tolerance) -> None:
        if max(abs(measured.steer), measured.throttle, measured.brake) > tolerance.touched:
            self._quiet_since = None
            return
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        release = tolerance.release_moving if speed > MOVING else tolerance.release
        if now - self._quiet_since >= release:
            self.driving, self._strange_since = False, None

    def _strange(self, measured: Command, tolerance: Tolerance) -> bool:
        limits = (tolerance.steer, tolerance.throttle, tolerance.brake)
        for limit, value, *given in zip(limits, measured, *(command for _, command in self._commanded), strict=True):
            if limit is not None and not min(given) - limit <= value <= max(given) + limit:
                return True
        return False


class SafetyGate:
    """Says why the policy must not drive now.

    Args:
        panicked: whether the panic key was hit, for good: whoever hit it looks for the reason first; see panic_switch.
        in_front: whether the game's window is in front; None where that cannot be known; see front_watch.
        need_window: drive only while it is.
        tolerance: for a human at the wheel; None where nobody is to be looked for.
    """

    def __init__(
        self,
        panicked: Callable[[], bool],
        in_front: Callable[[], bool | None],
        need_window: bool = True,
        tolerance: Tolerance | None = None,
    ) -> None:
        self._panicked, self._in_front, self._need_window = panicked, in_front, need_window
        self._human = HumanAtTheWheel(tolerance)
        self._packet: int | None = None
        self._packet_at = 0.0

    @property
    def human_drives(self) -> bool:
        """Whether the reason is a human at the wheel, who must not be braked: command RELEASED, not NEUTRAL."""
        return self._human.driving and not self._panicked()

    @property
    def doubtful_since(self) -> float | None:
        """From when on (s) a human may be at the wheel, which is not sure yet; None where nobody seems to be."""
        return self._human.doubtful_since

    def forget(self) -> None:
        """Begin anew after a reset: what was commanded before it explains nothing that the game shows after it."""
        self._human.forget()

    def reason(
        self, now: float, live: bool, packet: int, commanded: Command, measured: Command, speed: float
    ) -> str | None:
        """Why the controls must be neutral, in words; None when the policy may drive.

        `live`: the game's status is LIVE; `packet`: the number of its newest one; the rest as for HumanAtTheWheel.
        """
        if packet != self._packet:
            self._packet, self._packet_at = packet, now
        if self._panicked():
            return "the panic key was hit; start the bridge again to drive on"
        paused = None
        if not live:
            paused = "the game shows a pause, a menu or a replay"
        elif now - self._packet_at > PACKET_SECONDS:
            paused = "the game writes no new packets"
        elif self._need_window and self._in_front() is False:
            paused = "the game's window is not in front"
        if paused is not None:
            self._human.forget()
            return paused
        if self._human.update(now, commanded, measured, speed):
            return (
                "somebody steers or brakes, or the game does not follow the bridge; the policy goes on when nothing "
                "has been touched for a while"
            )
        return None


def latch(down: Callable[[], bool]) -> Callable[[], bool]:
    """Whether `down` was true since, even for a moment: a thread looks, whatever the control loop waits for."""
    hit = threading.Event()

    def watch() -> None:
        while not down():
            time.sleep(KEY_SECONDS)
        hit.set()

    threading.Thread(target=watch, name="panic key", daemon=True).start()
    return hit.is_set


def settled_front(
    look: Callable[[], bool | None], now: Callable[[], float] = time.monotonic
) -> Callable[[], bool | None]:
    """Whether the game's window is in front, as `look` says, which may be None (unknown, or no window) for a moment.

    False when it was None for UNKNOWN_SECONDS: the screen is locked, or asks for a right. `now`: monotonic, s.
    """
    unknown_since: float | None = None

    def settled() -> bool | None:
        nonlocal unknown_since
        found = look()
        if found is not None:
            unknown_since = None
            return found
        unknown_since = now() if unknown_since is None else unknown_since
        return False if now() - unknown_since > UNKNOWN_SECONDS else None

    return settled


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED_INFORMATION = 0x1000
    _LONGEST_PATH = 32768
    _user32 = ctypes.WinDLL("user32", use_last_error=True)
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _HANDLE, _DWORD = wintypes.HANDLE, wintypes.DWORD
    _prototypes: tuple[tuple[Any, ...], ...] = (
        (_user32.GetAsyncKeyState, wintypes.SHORT, ctypes.c_int),
        (_user32.GetForegroundWindow, wintypes.HWND),
        (_user32.GetWindowThreadProcessId, _DWORD, wintypes.HWND, ctypes.POINTER(_DWORD)),
        (_kernel32.OpenProcess, _HANDLE, _DWORD, wintypes.BOOL, _DWORD),
        (_kernel32.QueryFullProcessImageNameW, wintypes.BOOL, _HANDLE, _DWORD, wintypes.LPWSTR, ctypes.POINTER(_DWORD)),
        (_kernel32.CloseHandle, wintypes.BOOL, _HANDLE),
    )
    for _function, _result, *_arguments in _prototypes:
        _function.restype, _function.argtypes = _result, _arguments

    def panic_switch(key: str = "end") -> Callable[[], bool]:
        """Whether this key of PANIC_KEYS was hit, whatever window is in front; raises KeyError for other keys."""
        code = PANIC_KEYS[key]
        # The highest bit says "is down"; the lowest, "was hit since it was last asked", is anybody's who asks first.
        return latch(lambda: bool(_user32.GetAsyncKeyState(code) & 0x8000))

    def _front_is_the_game() -> bool | None:
        """Whether the window in front is the game's; None where there is none."""
        window = _user32.GetForegroundWindow()
        if not window:
            return None
        process = _DWORD()
        _user32.GetWindowThreadProcessId(window, ctypes.byref(process))
        handle = _kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, False, process.value)
        if not handle:
            # Whose process we may not look into is the system's, or somebody else's; the game's is ours.
            return False
        try:
            path = ctypes.create_unicode_buffer(_LONGEST_PATH)
            length = _DWORD(_LONGEST_PATH)
            if not _kernel32.QueryFullProcessImageNameW(handle, 0, path, ctypes.byref(length)):
                return False
            return path.value.rsplit("\\", 1)[-1].lower() in GAME_PROGRAMS
        finally:
            _kernel32.CloseHandle(handle)

    def front_watch() -> Callable[[], bool | None]:
        """Says when asked whether the window in front is the game's; None where that cannot be known."""
        return settled_front(_front_is_the_game)

else:

    def panic_switch(key: str = "end") -> Callable[[], bool]:
        """Whether the signal SIGUSR1 has come (`kill -USR1`): there is no key that is seen behind another's window.

        To be called in the main thread. Raises KeyError for a key that is none of PANIC_KEYS, as on Windows.
        """
        if key not in PANIC_KEYS:
            raise KeyError(key)
        hit = threading.Event()
        signal.signal(signal.SIGUSR1, lambda _number, _frame: hit.set())
        return hit.is_set

    def front_watch() -> Callable[[], bool | None]:
        """Says None when asked: which window is in front cannot be found out in one way on Linux."""
        return lambda: None

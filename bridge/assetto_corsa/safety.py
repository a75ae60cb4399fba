"""Says when the policy must not drive: the game is not live, its window is lost, a human drives, somebody hit panic.

Promises pure decisions over what it is given (SafetyGate, HumanAtTheWheel: no clock, no device of their own) and small
readers for what only the system knows (the panic key, the foreground window). Neutral controls for a bridge that dies
or hangs are not decided here: supervisor.py's process does that. What a human does is seen only as far as the game
shows it: while CSP has taken the car over, the game ignores wheel and pedals, and the panic key is the way to stop.
"""

import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bridge.assetto_corsa.controls import Command

PACKET_SECONDS = 0.5
"""Without a new packet for so long the game hangs, loads or is gone."""
GAME_PROGRAMS = ("acs.exe", "acs_x86.exe")
"""The programs that are the game, and not its launcher."""
PANIC_KEYS = {"end": 0x23, "home": 0x24, "pause": 0x13, "f8": 0x77}
"""Windows' virtual key codes of the keys that may be the panic key; none is bound in the game by default."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far the game may be from what we command before somebody else must be at the controls.

    A gamepad's steering arrives filtered and late, so the measured value is compared with all that was commanded in
    the last `window` seconds; only beyond that range by more than the tolerance, and for `delay` seconds on end, does
    it count. The throttle is let alone by default: traction control, blips and the limiter change it.

    Attributes: steer: of full lock; brake, throttle: of the pedal, None to ignore it; window, delay: s; release: for so
    long, s, nothing may be touched before the policy drives again.
    """

    steer: float = 0.2
    brake: float | None = 0.25
    throttle: float | None = None
    window: float = 0.4
    delay: float = 0.3
    release: float = 2.0


class HumanAtTheWheel:
    """Whether a human drives, from what we command and what the game shows; to be told of every step.

    Args:
        tolerance: see Tolerance; None where nobody is to be looked for.
    """

    def __init__(self, tolerance: Tolerance | None) -> None:
        self._tolerance = tolerance
        self._commanded: deque[tuple[float, Command]] = deque()
        self._strange_since: float | None = None
        self._quiet_since: float | None = None
        self.driving = False

    def update(self, now: float, commanded: Command, measured: Command) -> bool:
        """Whether a human drives now, `now` s on a monotonic clock.

        `commanded` is what the backend was given last (RELEASED while a human drives), `measured` what the game shows.
        """
        tolerance = self._tolerance
        if tolerance is None:
            return False
        while len(self._commanded) > 1 and self._commanded[1][0] < now - tolerance.window:
            self._commanded.popleft()
        strange = self._strange(measured, tolerance)
        self._commanded.append((now, commanded))
        if not strange:
            self._strange_since = None
            if self._quiet_since is None:
                self._quiet_since = now
            if now - self._quiet_since >= tolerance.release:
                self.driving = False
            return self.driving
        self._quiet_since = None
        if self._strange_since is None:
            self._strange_since = now
        if now - self._strange_since >= tolerance.delay:
            self.driving = True
        return self.driving

    def forget(self) -> None:
        """Begin anew after a time in which nothing was commanded: a pause, a reset."""
        self._commanded.clear()
        self._strange_since = None

    def _strange(self, measured: Command, tolerance: Tolerance) -> bool:
        if not self._commanded:
            return False
        limits = (tolerance.steer, tolerance.throttle, tolerance.brake)
        for axis, limit in enumerate(limits):
            if limit is None:
                continue
            given = [command[axis] for _, command in self._commanded]
            if not min(given) - limit <= measured[axis] <= max(given) + limit:
                return True
        return False


class SafetyGate:
    """Says why the policy must not drive now.

    Args:
        panicked: whether the panic key was hit; see panic_switch.
        in_front: whether the game's window is in front; None where that cannot be known; see game_in_front.
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
        self._panic = False
        self._packet: int | None = None
        self._packet_at = 0.0

    @property
    def human_drives(self) -> bool:
        """Whether the reason is a human at the wheel, who must not be braked: command RELEASED, not NEUTRAL."""
        return self._human.driving and not self._panic

    def reason(self, now: float, live: bool, packet: int, commanded: Command, measured: Command) -> str | None:
        """Why the controls must be neutral, in words; None when the policy may drive.

        A hit of the panic key counts until the process ends: whoever hit it looks for the reason first.

        Args:
            now: s on a monotonic clock.
            live: the game's status is LIVE.
            packet: the number of its newest packet.
            commanded, measured: see HumanAtTheWheel.update.
        """
        if packet != self._packet:
            self._packet, self._packet_at = packet, now
        self._panic = self._panic or self._panicked()
        if self._panic:
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
        if self._human.update(now, commanded, measured):
            return "somebody steers or brakes; the policy goes on when nothing has been touched for a while"
        return None


def panic_by_signal(number: int) -> Callable[[], bool]:
    """Whether this signal has come since; to be called in the main thread."""
    hit = threading.Event()
    signal.signal(number, lambda _number, _frame: hit.set())
    return hit.is_set


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED_INFORMATION = 0x1000
    _LONGEST_PATH = 32768
    _user32 = ctypes.WinDLL("user32", use_last_error=True)
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _user32.GetAsyncKeyState.argtypes = (ctypes.c_int,)
    _user32.GetAsyncKeyState.restype = wintypes.SHORT
    _user32.GetForegroundWindow.argtypes = ()
    _user32.GetForegroundWindow.restype = wintypes.HWND
    _user32.GetWindowThreadProcessId.argtypes = (wintypes.HWND, ctypes.POINTER(wintypes.DWORD))
    _user32.GetWindowThreadProcessId.restype = wintypes.DWORD
    _kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    _kernel32.OpenProcess.restype = wintypes.HANDLE
    _kernel32.QueryFullProcessImageNameW.argtypes = (
        wintypes.HANDLE,
        wintypes.DWORD,
        wintypes.LPWSTR,
        ctypes.POINTER(wintypes.DWORD),
    )
    _kernel32.QueryFullProcessImageNameW.restype = wintypes.BOOL
    _kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel32.CloseHandle.restype = wintypes.BOOL

    def panic_switch(key: str = "end") -> Callable[[], bool]:
        """Whether this key of PANIC_KEYS was hit, whatever window is in front; raises KeyError for other keys."""
        code = PANIC_KEYS[key]
        _user32.GetAsyncKeyState(code)
        # The lowest bit says "hit since it was last asked", so that a short hit between two steps counts.
        return lambda: bool(_user32.GetAsyncKeyState(code) & 0x8001)

    def game_in_front() -> bool | None:
        """Whether the window in front is the game's; None where Windows does not say whose it is."""
        window = _user32.GetForegroundWindow()
        if not window:
            return None
        process = wintypes.DWORD()
        _user32.GetWindowThreadProcessId(window, ctypes.byref(process))
        handle = _kernel32.OpenProcess(_QUERY_LIMITED_INFORMATION, False, process.value)
        if not handle:
            return None
        try:
            path = ctypes.create_unicode_buffer(_LONGEST_PATH)
            length = wintypes.DWORD(_LONGEST_PATH)
            if not _kernel32.QueryFullProcessImageNameW(handle, 0, path, ctypes.byref(length)):
                return None
            return path.value.rsplit("\\", 1)[-1].lower() in GAME_PROGRAMS
        finally:
            _kernel32.CloseHandle(handle)

else:

    def panic_switch(key: str = "end") -> Callable[[], bool]:
        """Whether the signal SIGUSR1 has come (`kill -USR1`): there is no key that is seen behind another's window.

        To be called in the main thread. Raises KeyError for a key that is none of PANIC_KEYS, as on Windows.
        """
        if key not in PANIC_KEYS:
            raise KeyError(key)
        return panic_by_signal(signal.SIGUSR1)

    def game_in_front() -> bool | None:
        """None: which window is in front cannot be asked in one way on Linux."""
        return None

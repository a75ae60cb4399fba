"""Says when the game has stopped following what it is given: a control that stays where it is, or goes elsewhere.

Pure decisions: no clock and no device of its own. A lag of a quarter of a second, a filter, traction control and a
limiter are no disobedience; a control that nobody asks to move is not judged. Who is behind it is not known here:
controls that froze, a device that the game has lost, somebody else who drives (safety.py looks for a human where he can
be seen).
"""

from collections import deque

from bridge.assetto_corsa.controls.controls import Command

DISOBEYING_SECONDS = 1.0
"""So long may a control not follow."""
DOUBT_SECONDS = 0.25
"""Before that, it may only be late."""
_TOLERANCE = 0.3
"""Of full lock or of a pedal: what the game shows may differ by so much from all that was asked for lately."""
_STILL = 0.02
"""Of full lock or of a pedal: what moves by less stands still."""
_WINDOW_SECONDS = 0.6
"""What was asked for before that is forgotten."""


class Obedience:
    """Whether the game follows, from what we command and what it shows; to be told of every step that is driven."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, after a time in which nothing was driven."""
        self._controls = (_Control("steering", both_ways=True), _Control("throttle"), _Control("brake"))
        self._now = 0.0

    def update(self, now: float, commanded: Command, measured: Command) -> str | None:
        """What is wrong, in words, once a control has not followed for DISOBEYING_SECONDS; `now`: s, monotonic.

        `commanded` is what the game was given last, `measured` what it shows.
        """
        self._now = now
        for control, asked, shown in zip(self._controls, commanded, measured, strict=True):
            control.update(now, asked, shown)
        for control, asked, shown in zip(self._controls, commanded, measured, strict=True):
            if control.since is not None and now - control.since >= DISOBEYING_SECONDS:
                return (
                    f"the game has not followed the {control.name} for {DISOBEYING_SECONDS:g} s (asked for {asked:.2f} "
                    f"last, it shows {shown:.2f})"
                )
        return None

    @property
    def doubtful_since(self) -> float | None:
        """From when on a control may not have followed, once it is more than late; None while all follow."""
        since = min((control.since for control in self._controls if control.since is not None), default=None)
        return since if since is not None and self._now - since >= DOUBT_SECONDS else None


class _Control:
    """One of steer, throttle and brake. Attributes: since: it does not follow from then on, s; None when it does."""

    def __init__(self, name: str, both_ways: bool = False) -> None:
        self.name, self._both_ways = name, both_ways
        self._asked: deque[tuple[float, float]] = deque()
        self._stands_at: float | None = None
        self._stuck_since: float | None = None
        self._astray_since: float | None = None

    @property
    def since(self) -> float | None:
        return min((since for since in (self._stuck_since, self._astray_since) if since is not None), default=None)

    def update(self, now: float, asked: float, shown: float) -> None:
        self._asked.append((now, asked))
        while len(self._asked) > 1 and self._asked[1][0] < now - _WINDOW_SECONDS:
            self._asked.popleft()
        self._look_whether_stuck(now, shown)
        lowest, highest = min(value for _, value in self._asked), max(value for _, value in self._asked)
        # A pedal that is pressed less than we ask for is traction control's work, or a limiter's, as long as it moves.
        astray = shown > highest + _TOLERANCE or (self._both_ways and shown < lowest - _TOLERANCE)
        if not astray:
            self._astray_since = None
        elif self._astray_since is None:
            self._astray_since = now

    def _look_whether_stuck(self, now: float, shown: float) -> None:
        """Notice a control that does not move however often it is asked to, wherever it stands."""
        if self._stands_at is None or abs(shown - self._stands_at) > _STILL:
            self._stands_at, self._stuck_since = shown, None
        at = self._stands_at
        if abs(self._asked[-1][1] - at) > _TOLERANCE:
            self._stuck_since = now if self._stuck_since is None else self._stuck_since
        elif all(abs(value - at) <= _TOLERANCE for _, value in self._asked):
            # It stands where it should.
            self._stuck_since = None

"""How far a piece of work is: a live line on a terminal, log lines elsewhere; never mixed with the log."""

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from runtime.logs import SAYS, fields, key_values

PLAIN_PROGRESS_SECONDS = 30.0
"""Without a terminal, a progress line is written at most this often."""
RATE_SECONDS = 30.0
"""Rates, and the time left, go by so much of the past: a pause must not count for ever."""

_CONSOLE = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
_log = logging.getLogger(__name__)


class Progress:
    """How far a piece of work is, with rate and time left.

    On a terminal one live line at the bottom; without one a plain log line at most every 30 s and at the end.
    `total` is None when the end is not known. Rates are those of the last RATE_SECONDS, and count from
    the first update, so that a resumed run's head start is not taken for speed.
    """

    def __init__(self, label: str, total: float | None = None, stream: IO[str] | None = None) -> None:
        self._label, self._total = label, total
        console = _CONSOLE if stream is None else Console(file=stream, highlight=False, markup=False)
        self._live = Live("", console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._marks: deque[tuple[float, float]] = deque()
        self._last_plain = float("-inf")
        self._last: dict[str, object] = {}

    def update(self, done: float, **values: object) -> None:
        """Say that `done` (of `total`, same unit) is reached; `values` are shown beside it.

        Among them may be a `left` that is known better than by the rate; None says that nobody knows it. `says` tells
        how it goes in words: a terminal shows that, and little beside it.
        """
        now = time.monotonic()
        if not self._marks and self._live is not None:
            self._live.start()
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, done))
        while len(self._marks) > 1 and now - self._marks[1][0] >= RATE_SECONDS:
            self._marks.popleft()
        says = values.pop(SAYS, None)
        told = self._shown(now, done) | values | {SAYS: says}
        self._last = {name: value for name, value in told.items() if value is not None}
        if self._live is not None:
            self._live.update(Text(f"{self._label}  {_for_people(self._last)}", no_wrap=True, overflow="ellipsis"))
        elif now - self._last_plain >= PLAIN_PROGRESS_SECONDS:
            self._last_plain = now
            self._write()

    def _shown(self, now: float, done: float) -> dict[str, object]:
        start, head_start = self._marks[0]
        rate = (done - head_start) / (now - start) if now > start else 0.0
        shown: dict[str, object] = {"done": "/".join(_amount(part) for part in (done, self._total) if part is not None)}
        if rate > 0:
            shown["per_second"] = f"{rate:.3g}"
            if self._total is not None:
                shown["left"] = duration(max(0.0, self._total - done) / rate)
        return shown

    def _write(self) -> None:
        if self._last:
            _log.info(self._label, extra=fields(**self._last))
        self._last = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the live line away; the last state stays as a log line."""
        if self._live is not None:
            self._live.stop()
        self._write()


def _for_people(values: Mapping[str, object]) -> str:
    """What a terminal shows: all values, or where one of them tells it in words, those words and how far it is."""
    if SAYS not in values:
        return key_values(values)
    beside = {name: value for name, value in values.items() if name in ("done", "left")}
    return f"{values[SAYS]}  {key_values(beside)}"


def _amount(value: float) -> str:
    """Counts in full, however large; other numbers in 6 digits."""
    return f"{value:.0f}" if value == round(value) else f"{value:g}"


def duration(seconds: float) -> str:
    """`42s`, `3m07s`, `2h05m`: seconds in the form a person reads."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def lap_text(seconds: float | None) -> str:
    """Minutes, seconds and thousandths, as lap times are told."""
    return "none yet" if seconds is None else f"{int(seconds // 60)}:{seconds % 60:06.3f}"


def laps_compared(best: Sequence[float] | None, yours: Sequence[float]) -> str:
    """`best 61.2 s, yours 59.8 s: +0.4 +0.7 +0.3`: what a lap takes longer than yours, by the times of sectors, s."""
    told = f"yours {sum(yours):.1f} s"
    if best is None:
        return f"no clean lap yet, {told}"
    # Adding zero makes a plus of -0.0.
    behind = (round(there - here, 1) + 0.0 for there, here in zip(best, yours, strict=True))
    return f"best {sum(best):.1f} s, {told}: {' '.join(f'{seconds:+.1f}' for seconds in behind)}"

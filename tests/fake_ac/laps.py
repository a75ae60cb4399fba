"""The game's lap timing: a lap begins where the start line is crossed, and a car that was put elsewhere has none."""

from dataclasses import dataclass


@dataclass
class Laps:
    """Laps of one session. Attributes: completed; times in ms, 0 for none; distance driven in m."""

    length: float
    completed: int = 0
    current_ms: float = 0.0
    last_ms: int = 0
    best_ms: int = 0
    distance: float = 0.0
    _s: float | None = None
    _progress: float = 0.0
    _timed: bool = False

    def advance(self, s: float, seconds: float) -> None:
        """The car is at s in metres, this long after the last call."""
        self.current_ms += 1000.0 * seconds
        if self._s is not None:
            step = (s - self._s + 0.5 * self.length) % self.length - 0.5 * self.length
            self._progress += step
            self.distance += abs(step)
            if step > 0.0 and s < self._s:
                self._cross(s / step * seconds)
        self._s = s

    def jump(self) -> None:
        """The car was put somewhere: the lap that it was on does not count."""
        self._s, self._timed, self.current_ms = None, False, 0.0

    def _cross(self, ago: float) -> None:
        """The line was crossed forward `ago` seconds ago; only a whole lap since the last crossing counts."""
        whole = self._progress > 0.9 * self.length
        if self._timed and whole:
            self.last_ms = round(self.current_ms - 1000.0 * ago)
            self.best_ms = min(self.best_ms or self.last_ms, self.last_ms)
            self.completed += 1
        if not self._timed or whole:
            self._timed, self._progress, self.current_ms = True, 0.0, 1000.0 * ago

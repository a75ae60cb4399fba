"""Lets through to the recorder what is worth learning from: whole, clean laps that somebody showed.

Promises that a step gets through only with the whole lap that it belongs to (the way to the line with the lap behind
it), as a step that no policy drove; that what is left out is counted, and said with its reason; and that it waits for
nobody, however long a lap is: what has no room in the recorder yet is kept here until it has.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from experience.batches import DEMONSTRATION
from experience.recorder import Recorder
from racing.driving import EpisodeEnd, Step
from racing.task import Float32Array
from runtime.progress import lap_text

NOT_CLEAN = "had more than two wheels off the track"
_REASONS = {
    "off_track": "left the track",
    "crash": "hit something",
    "reversed": "turned round",
    "stalled": "stood still",
    "interrupted": "was interrupted",
}
"""Why a lap is not taken, by how its episode ended."""
_SHORTEST_SECONDS = 3.0
"""A shorter piece is no attempt at a lap, and is left out without a word."""
_LAST_SECONDS = 10.0
"""For so long, at the end, room for what was taken is waited for."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Shown:
    observation: Float32Array
    step: Step


class CleanLaps:
    """A recorder's door for one car's demonstrated steps of `period` s; `wanted` laps are enough, None for any number.

    Attributes: taken, laps; best, s, the fastest of them; left_out, how many pieces of a drive, by their reason.
    """

    def __init__(self, recorder: Recorder, period: float, wanted: int | None = None) -> None:
        self._recorder, self._period, self._wanted = recorder, period, wanted
        self._held: list[_Shown] = []
        """Since the last lap that was taken: its last step, which ends the piece if nothing else is taken."""
        self._joined = False
        """Whether the first of these belongs to that lap."""
        self._due: deque[_Shown] = deque()
        self._steps, self._reward = 0, 0.0
        self.taken, self.best = 0, float("inf")
        self.left_out: Counter[str] = Counter()

    @property
    def enough(self) -> bool:
        """Whether all wanted laps were taken."""
        return self._wanted is not None and self.taken >= self._wanted

    def ready(self) -> bool:
        """Whether the recorder has taken all that got through, and takes more."""
        self.hand_over()
        return not self._due and self._recorder.ready()

    def hand_over(self) -> None:
        """Give the recorder what got through, as far as it has room."""
        while self._due and self._recorder.ready():
            shown = self._due.popleft()
            self._recorder.record(shown.observation, shown.step, DEMONSTRATION)

    def record(self, observation: Float32Array, step: Step, version: int = DEMONSTRATION) -> bool:
        """Take one step, which was shown after `observation`; `version` says nothing here. True: nothing waits."""
        del version
        self._held.append(_Shown(observation, step))
        for lap in step.laps:
            if lap.clean and not self.enough:
                self._take(lap.time)
            elif not lap.clean:
                self._leave_out(NOT_CLEAN)
        for end in step.episodes:
            self._leave_out(_REASONS.get(end.reason, ""))
        return self.ready()

    def interrupted(self) -> None:
        """What comes does not join what was."""
        self._leave_out(_REASONS["interrupted"])

    def finish(self) -> None:
        """Nothing more comes: what is no whole lap is left out, the rest handed over, for as long as _LAST_SECONDS."""
        self._leave_out("")
        until = time.monotonic() + _LAST_SECONDS
        while not self.ready() and self._due and self._recorder.failure is None and time.monotonic() < until:
            time.sleep(0.005)

    def summary(self) -> str:
        """What came of it, a sentence."""
        if not self.taken:
            said = "No lap was taken: only whole laps count, from the line to the line"
        else:
            laps = "1 lap was taken" if self.taken == 1 else f"{self.taken} laps were taken, the best"
            said = f"{laps} in {lap_text(self.best)}"
        left = ", ".join(f"{count} that {why}" for why, count in self.left_out.items())
        return f"{said}. Left out: {left}." if left else f"{said}."

    def _take(self, seconds: float) -> None:
        self.taken += 1
        self.best = min(self.best, seconds)
        last = self._held.pop()
        self._due.extend(self._counted(self._held))
        self._held, self._joined = [last], True
        _log.info(f"a lap is taken: {lap_text(seconds)}")

    def _leave_out(self, why: str) -> None:
        """End what was taken before, drop what came since, and say why, unless it was no attempt at a lap."""
        held, self._held = self._held, []
        if self._joined:
            (last,) = self._counted(held[:1])
            if not last.step.episodes:
                ended = EpisodeEnd(0, self._steps, self._reward, "demonstration")
                last.step = replace(last.step, truncated=np.ones(1, np.bool_), episodes=(ended,))
            self._due.append(last)
            held, self._joined = held[1:], False
            self.hand_over()
        self._steps, self._reward = 0, 0.0
        if why and len(held) * self._period >= _SHORTEST_SECONDS:
            self.left_out[why] += 1
            _log.info(f"a lap is left out, which {why}")

    def _counted(self, shown: list[_Shown]) -> Iterator[_Shown]:
        for one in shown:
            self._steps += 1
            self._reward += float(one.step.reward[0])
            yield one

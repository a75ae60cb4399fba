"""Drives one car from afar: each frame of its telemetry in, a chunk of controls out, and experience of what came of it.

It does no input or output: whoever owns the connection hands frames in and sends the chunks on. What acts is asked for
at each frame, so that the newest policy drives.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from racing.driving import Step
from racing.evaluation import Actor
from racing.prediction import Prediction, steered
from racing.task import Float32Array, Task
from train_cloud.driver.planner import ACTIONS, Planner
from train_cloud.driver.seen_drive import SeenDrive
from wire.messages import ControlChunk, Telemetry

CHUNKS_KNOWN: Final = 1000
"""Newest chunks of which the policy's version is known; an older one is not played any more."""


class CloudDriver:
    """Drives the car of one stream.

    Args:
        task: observes and judges.
        newest: who acts, and the version of his policy; None while nobody does.
        record: takes a step, with the observation it was chosen on and the version of the policy that chose it.
        count, predict, trained_delay: as of Planner.
        number: of the chunk before the first: those of an earlier driver may still be played.
    """

    def __init__(
        self,
        task: Task,
        newest: Callable[[], tuple[Actor, int] | None],
        record: Callable[[Float32Array, Step, int], object],
        count: int = ACTIONS,
        predict: Prediction = steered,
        trained_delay: float = 0.0,
        number: int = 0,
    ) -> None:
        self._newest, self._period = newest, 1.0 / task.config.control_hz
        self._actor: Actor
        self._planner = Planner(task, lambda seen, state: self._actor(seen, state), count, predict, trained_delay)
        self._versions: dict[int, int] = {}
        self._order: deque[int] = deque()
        self._seen = SeenDrive(task, record, self._versions.get)
        self._episode: int | None = None
        self._number = number

    def heard(self, frame: Telemetry, answer: bool = True) -> ControlChunk | None:
        """The answer to a frame; None where none is wanted, nobody acts, or there is nothing to answer."""
        if frame.chunk_delay is not None:
            self._planner.measured(frame.chunk_delay)
        if frame.episode != self._episode:
            self._episode = frame.episode
            self._planner.begin()
        if not self._seen.see(frame) or not answer or (acting := self._newest()) is None:
            return None
        self._actor, version = acting
        plan = self._planner.plan(self._seen.state, self._seen.memory)
        self._number += 1
        self._note(self._number, version)
        return ControlChunk(
            number=self._number,
            observed=float(self._seen.state.time[0]),
            first=plan.first,
            period=self._period,
            actions=tuple((float(steer), float(pedal)) for steer, pedal in plan.actions[:, 0]),
            expires=plan.expires,
            version=version,
        )

    def finish(self, reason: str = "interrupted") -> None:
        """No further frame comes: the episode ends at its last whole step."""
        self._seen.interrupt(reason)
        # Another drive may number its episodes alike.
        self._episode = None

    def _note(self, number: int, version: int) -> None:
        self._versions[number] = version
        self._order.append(number)
        if len(self._order) > CHUNKS_KNOWN:
            del self._versions[self._order.popleft()]

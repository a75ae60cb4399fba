"""Drives a car by the chunks of a driver in the cloud, and tells it of each control step by a frame.

The driving itself is that of `drive`: VectorDriving or the game's driver, with all that stops it. Promises that a frame
goes up for each step as soon as it was driven; that which steps were surely ours is told as soon as it is known
(`settled`), so that no other becomes experience; that what the driver is to see of an episode begins with its first
state; and that no episode begins while nobody would answer. A driver that falls silent within one leaves the car to the
player's watchdog.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from bridge.driving.drive import Driver
from bridge.stream.chunk_player import Played, Playing
from bridge.stream.chunks import Chunks
from bridge.stream.frames import FrameMaker
from bridge.stream.sinks import Newest
from experience.batches import NOBODY
from racing.car import CarState
from racing.driving import EpisodeEnd, Lap, Lookout, Step
from racing.task import Float32Array, TaskMemory
from runtime.logs import fields
from wire.messages import Telemetry

MOST_FRAMES: Final = 64
"""Frames that wait for the link; beyond, the oldest is dropped, and the driver sees the gap."""
SILENT_SECONDS: Final = 0.5
"""A watchdog that drives for longer is told of in the log."""
_LAST_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.01

_log = logging.getLogger(__name__)


class SeenStates(Lookout):
    """Has the chunks see each state at once, and keeps what came since it was asked last."""

    def __init__(self, chunks: Chunks) -> None:
        super().__init__()
        self._chunks = chunks
        self.begun: CarState | None = None
        """Where an episode has begun, until somebody takes it."""
        self.stepped = False
        """Whether a step was driven since somebody set it to False."""
        self.begun_behind = False
        """Whether `begun` came after that step."""
        self.newest: CarState | None = None
        """The state that the last step led to."""
        self.unsettled: deque[float] = deque()
        """Times of the episode's states whose steps may turn out not to be ours, s."""
        self.settled = 0.0
        """Time of the newest state whose step was ours, or of the episode's begin."""

    def began(self, state: CarState) -> None:
        """An episode begins here."""
        super().began(state)
        self._chunks.begin(state)
        self.begun, self.begun_behind = state, self.stepped
        if not self.stepped:
            # What is left of the episode before was not ours.
            self.unsettled.clear()
            self.settled = float(state.time[0])

    def see(self, state: CarState, memory: TaskMemory, laps: tuple[Lap, ...], episodes: tuple[EpisodeEnd, ...]) -> None:
        """A step has led here."""
        super().see(state, memory, laps, episodes)
        self._chunks.see(state)
        self.newest, self.stepped = state, True
        self.unsettled.append(float(state.time[0]))


class Ours:
    """Stands where a Recorder would: the driver hands on steps that were ours, and experience is made elsewhere."""

    failure = None
    pending_steps = 0

    def __init__(self, seen: SeenStates, out: Newest) -> None:
        self._seen, self._out = seen, out

    @property
    def lost_steps(self) -> int:
        """Frames that were not sent."""
        return self._out.lost

    def ready(self) -> bool:
        """It takes any step."""
        return True

    def record(self, observation: Float32Array, step: Step, policy_version: int) -> bool:  # noqa: ARG002
        """The oldest unsettled step was ours."""
        self._seen.settled = self._seen.unsettled.popleft()
        return True

    def close(self) -> None:
        """Wait a moment for the last frames to be on their way."""
        until = time.monotonic() + _LAST_SECONDS
        while self._out.waiting and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)


class ChunkDriver:
    """Tells of what `driver` drives, one car.

    Args:
        driver: takes its actions from `chunks`, shows its states to `seen` and records into Ours.
        maker: of the frames, which go to `put`.
        linked: whether the receiver is there.
        rest: looks after a car that would go on by itself, while nobody is to drive it.
    """

    over = False

    def __init__(
        self,
        driver: Driver,
        seen: SeenStates,
        chunks: Chunks,
        maker: FrameMaker,
        put: Callable[[Telemetry], None],
        linked: Callable[[], bool],
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._driver, self._seen, self._chunks = driver, seen, chunks
        self._maker, self._put, self._linked, self._rest = maker, put, linked, rest
        self._episode = 0
        self._frame: Telemetry | None = None
        """The newest one of the episode that goes on; None between two."""
        self._waits = False
        self._silent_since: float | None = None
        self._told_silent = False

    @property
    def version(self) -> int:
        """Of the policy that chose the newest action; 0 for none, as where the reference driver drives."""
        version = self._chunks.version
        return version if self._chunks.driver.ready and version != NOBODY else 0

    def waits_for(self) -> str | None:
        """A driver, before an episode begins; within one, whatever else must be waited for."""
        if self._frame is None and (why := self._nobody()) is not None:
            self._waits = True
            # A human may drive meanwhile, who is not to be braked: the driver goes on looking.
            if self._driver.waits_for() is None:
                self._rest()
            return why
        if self._waits:
            self._waits = False
            self._chunks.forget()
        return self._driver.waits_for()

    def step(self) -> Step | None:
        """One step, and its frame."""
        # What began at the end of the last step is told now, since it may have been waited for a driver meanwhile.
        self._tell_begin()
        self._seen.stepped = False
        step = self._driver.step()
        if not self._seen.begun_behind:
            self._tell_begin()
        if step is not None:
            self._tell(step)
        else:
            # What was played for it is not the next one's.
            self._chunks.played = None
            if self._frame is not None:
                self._end("interrupted")
        return step

    def finish(self) -> None:
        """Let go of the car; the episode that was being driven has ended."""
        self._driver.finish()
        if self._frame is not None:
            self._end("stopped")
        _log.info("how actions were played", extra=fields(**self._chunks.counts))

    def _nobody(self) -> str | None:
        if not self._linked():
            return "the receiver"
        return None if self._chunks.driver.ready else f"a driver in the cloud. {self._chunks.driver.text}".strip()

    def _tell_begin(self) -> None:
        state, self._seen.begun = self._seen.begun, None
        if state is None:
            return
        self._maker.interrupt()
        self._episode += 1
        self._say(state)

    def _tell(self, step: Step) -> None:
        state = self._seen.newest
        assert state is not None
        steer, pedal = (float(part) for part in step.action[0])
        played = self._chunks.take_played(steer, pedal)
        self._listen(played)
        age = float(step.action_age[0]) + (0.0 if played is None or played.age is None else played.age)
        ended = step.episodes[0].reason if step.episodes else None
        self._say(
            state,
            ended=ended,
            action=(steer, pedal),
            action_age=age,
            chunk=None if played is None else played.chunk,
            settled=None if self._seen.settled == state.time[0] else self._seen.settled,
        )
        if ended is not None:
            self._frame = None

    def _say(self, state: CarState, **more: object) -> None:
        """Send the frame of this state; one of which a number is none is a gap that the driver sees."""
        frame = self._maker.frame(state)
        if frame is not None:
            self._frame = msgspec.structs.replace(frame, episode=self._episode, chunk_delay=self._chunks.delay, **more)
            self._put(self._frame)

    def _end(self, reason: str) -> None:
        """Say that the episode has ended with what is settled of it."""
        assert self._frame is not None
        end = msgspec.structs.replace(
            self._frame, ended=reason, action=None, action_age=None, chunk=None, settled=self._seen.settled
        )
        self._frame = None
        self._put(end)

    def _listen(self, played: Played | None) -> None:
        """Say in the log when a driver has fallen silent, and when he is heard again."""
        if played is None or played.playing is not Playing.WATCHDOG:
            if self._told_silent:
                _log.info("the driver in the cloud is heard again")
            self._silent_since, self._told_silent = None, False
            return
        self._silent_since = self._silent_since or time.monotonic()
        if not self._told_silent and time.monotonic() - self._silent_since > SILENT_SECONDS:
            self._told_silent = True
            _log.warning("the driver in the cloud is silent: the car is braked gently until it is heard again")

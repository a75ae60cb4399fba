"""What a driver in the cloud wants done, as the policy of whoever drives here: actions without waiting for a network.

Chunks arrive in the link's thread and are played in the control thread, at the control rate.
"""

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from bridge.stream.chunk_player import ChunkPlayer, Played, Playing
from racing.car import CarState
from racing.task import Float32Array
from wire.messages import ControlChunk, DriverState

NOBODY_ANSWERS = "The receiver has not said yet whether there is one."
_MOST_ARRIVED = 64
"""Chunks that wait for the next control step; three seconds' worth, after a stall."""


class Chunks:
    """Plays what arrives, for one car; an `experience.policy_driver.Acts`.

    `period` is the control period, s; `now` a monotonic clock, s.
    """

    def __init__(self, period: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._player = now, ChunkPlayer(period)
        self._arrived: deque[tuple[ControlChunk, float]] = deque(maxlen=_MOST_ARRIVED)
        self._time = self._read_at = 0.0
        self.driver = DriverState(False, NOBODY_ANSWERS)
        """What was said of the driver last; replaced whole."""
        self.version = 1
        """Of the policy that chose the newest action."""
        self.played: Played | None = None
        """What was played since `take_played`."""

    @property
    def delay(self) -> float | None:
        """As of ChunkPlayer."""
        return self._player.delay

    @property
    def counts(self) -> dict[str, int]:
        """As of ChunkPlayer."""
        return dict(self._player.counts)

    @property
    def silent(self) -> bool:
        """Whether there was nothing to play, so that the newest action is the watchdog's."""
        return self.played is not None and self.played.playing is Playing.WATCHDOG

    def hear(self, message: ControlChunk | DriverState) -> None:
        """Take what came, in the link's thread."""
        if isinstance(message, ControlChunk):
            self._arrived.append((message, self._now()))
        else:
            self.driver = message

    def begin(self, state: CarState) -> None:
        """An episode begins in this state, which was just read."""
        self.see(state)
        pedal = float(state.throttle[0] - state.brake[0])
        self._player.begin(self._time, float(state.steer[0]), pedal)

    def see(self, state: CarState) -> None:
        """This is the newest state, which was just read."""
        self._time, self._read_at = float(state.time[0]), self._now()

    def forget(self) -> None:
        """Nothing was driven for a while: what came meanwhile has no sense."""
        self._arrived.clear()

    def act(self, observation: Float32Array, rng: np.random.Generator | None = None) -> Float32Array:  # noqa: ARG002
        """The action (1, 2) to apply now; what is observed is looked at elsewhere."""
        while self._arrived:
            chunk, at = self._arrived.popleft()
            # When it came, on the session's clock; the car's time may have stood still for a moment that ours has not.
            when = self._time + at - self._read_at
            self._player.take(chunk, max(when, min(chunk.observed, self._time)))
        self.played = played = self._player.action(self._time)
        self.version = max(1, played.version or self.version)
        return np.array([[played.steer, played.pedal]], np.float32)

    def take_played(self, steer: float, pedal: float) -> Played | None:
        """What was played in the step before, in which these controls were applied; None where others chose them."""
        played, self.played = self.played, None
        if played is None:
            self._player.applied(steer, pedal)
        return played

"""Cars on the simulator that are driven over a simulated link, as `scripts.bench.chunks` measures them.

The driver's planner and the PC's player are the product's own; between them lie two SimulatedLinks in place of sockets,
and all time is simulated. The cars share one link, as one bridge's.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bridge.stream.chunk_player import ChunkPlayer
from racing.car import FloatArray
from racing.driving import Step, VectorDriving
from racing.evaluation import Actor
from racing.link_model import LinkModel, SimulatedLink
from racing.prediction import Prediction, steered
from racing.simulator import SimulatedCar
from racing.task import Float32Array, Task, merge_memory
from racing.track import Track
from train_cloud.driver.planner import Planner
from wire.messages import ControlChunk

START_SHARE: Final = 0.4
"""Of the track, before the line, in whose straightest fifth cars start: until the first chunk nobody steers them."""
STRAIGHT: Final = 60.0
"""m that are to be straight."""
PLANNING_SECONDS: Final = 0.005
"""s that the driver needs for a chunk."""
JITTER: Final = 0.2
"""Of the delay, and LEAST_JITTER more: how late the latest tenth of the messages is."""
LEAST_JITTER: Final = 0.002
LOST: Final = 0.01
"""Of the packets; each is a stall until it was sent again."""
LEAST_RESEND: Final = 0.2
"""s until TCP sends a packet again, and the way there and back more (RFC 6298, Linux' minimum)."""


def link_of(delay: float, rate: float) -> LinkModel:
    """One way of `delay` s with jitter and loss, for `rate` messages a second; without all of them for 0 s."""
    if not delay:
        return LinkModel((0.0, 0.0))
    # Exponential: most come nearly in time, few much later.
    scale = (JITTER * delay + LEAST_JITTER) / np.log(10.0)
    late = -np.log1p(-np.linspace(0.0, 0.99, 21))
    delays = tuple((delay + scale * late).tolist())
    return LinkModel(delays, LOST * rate, LEAST_RESEND + 2.0 * delay)


@dataclass
class Driven:
    """What came of it: times of clean laps (s), all laps, ends by reason, m, steps by how they were played."""

    clean: list[float] = field(default_factory=list)
    laps: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    metres: float = 0.0
    played: Counter[str] = field(default_factory=Counter)


def drive(
    track: Track,
    act: Actor,
    seconds: float,
    cars: int,
    delay: float | None,
    count: int = 10,
    predict: Prediction = steered,
    trained_delay: float = 0.0,
    seed: int = 0,
) -> Driven:
    """Drive so many cars for so long, from places before the line, over `delay` s each way; None drives locally."""
    task = Task(track)
    driving = VectorDriving(SimulatedCar(track, cars, start=_starts(track, cars)), task)
    observation = driving.reset()
    result = Driven()
    remote = None if delay is None else _Remote(driving, task, act, delay, count, predict, trained_delay, seed)
    for _ in range(round(seconds / driving.period)):
        action = act(observation, driving.state) if remote is None else remote.actions()
        result.metres += driving.period * float(np.hypot(*driving.state.velocity.T).sum())
        step = driving.step(action)
        observation = step.observation
        result.laps += len(step.laps)
        result.clean += [lap.time for lap in step.laps if lap.clean]
        result.ends.update(end.reason for end in step.episodes)
        if remote is not None:
            remote.saw(step)
    if remote is not None:
        for player in remote.players:
            result.played.update(player.counts)
    return result


def _starts(track: Track, cars: int) -> FloatArray:
    """Arc lengths (N,) from which cars start, m."""
    ahead = round(STRAIGHT / track.spacing)
    bends = np.convolve(np.abs(np.append(track.curvature, track.curvature[:ahead])), np.ones(ahead), "valid")[:-1]
    points = np.arange(round((1.0 - START_SHARE) * len(bends)), len(bends) - ahead)
    straightest = np.sort(points[np.argsort(bends[points])[: len(points) // 5]])
    chosen = np.linspace(0, len(straightest) - 1, cars).round().astype(np.int64)
    return np.asarray(track.spacing * straightest[chosen])


class _Remote:
    """The cars' players, the driver's planner, and the link between them."""

    def __init__(
        self,
        driving: VectorDriving,
        task: Task,
        act: Actor,
        delay: float,
        count: int,
        predict: Prediction,
        trained_delay: float,
        seed: int,
    ) -> None:
        self._driving, self._task, self._period = driving, task, driving.period
        self._planner = Planner(task, act, count, predict, trained_delay)
        rate = task.config.control_hz
        self._up, self._down = SimulatedLink(link_of(delay, rate), seed), SimulatedLink(link_of(delay, rate), seed + 1)
        self.players = [ChunkPlayer(self._period) for _ in range(driving.car.count)]
        self._memory = task.begin(driving.state)
        self._coming: list[tuple[float, int, list[ControlChunk]]] = []
        self._number = 0
        self._send()

    def actions(self) -> Float32Array:
        """What the players apply now, (N, 2)."""
        now = float(self._driving.state.time[0])
        while self._coming and self._coming[0][0] <= now:
            for player, chunk in zip(self.players, heapq.heappop(self._coming)[2], strict=True):
                player.take(chunk, now)
        played = [player.action(now) for player in self.players]
        return np.array([[one.steer, one.pedal] for one in played], np.float32)

    def saw(self, step: Step) -> None:
        """Send a frame of what came of the actions; where an episode ended, of the new one's begin."""
        state, ended = self._driving.state, step.terminated | step.truncated
        memory, _ = self._task.advance(self._memory, state, step.action)
        self._memory = merge_memory(memory, self._task.begin(state), ended) if ended.any() else memory
        for car in np.flatnonzero(ended):
            self.players[car].begin(float(state.time[0]))
        self._send()

    def _send(self) -> None:
        state = self._driving.state
        now = float(state.time[0])
        there = self._up.arrival(now)
        if (measured := self.players[0].delay) is not None:
            self._planner.measured(measured)
        plan = self._planner.plan(state, self._memory)
        back = self._down.arrival(there + PLANNING_SECONDS)
        self._number += 1
        chunks = [
            ControlChunk(
                number=self._number,
                observed=now,
                first=plan.first,
                period=self._period,
                actions=tuple((float(a), float(b)) for a, b in plan.actions[:, car]),
                expires=plan.expires,
                version=0,
            )
            for car in range(len(self.players))
        ]
        heapq.heappush(self._coming, (back, self._number, chunks))

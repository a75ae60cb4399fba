"""What driving well means: observation, reward and end of an episode, as pure functions of car states.

The same functions serve the simulator, a recorded lap and the real game: they see only `CarState`, a `Track`
and a `TaskMemory` that they return anew. Observations and actions lie on fixed-point grids from here on, so that
the wire can carry them as int16 without changing a bit. Nothing here keeps state or touches a clock.
"""

import itertools
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from racing.car import BoolArray, CarState, Controls, FloatArray, IntArray
from racing.closed_line import wrapped
from racing.pace import pace_of
from racing.task_config import TaskConfig as TaskConfig
from racing.track import Projection, Track

Float32Array = npt.NDArray[np.float32]

OBSERVATION_STEP = 2.0**-12
OBSERVATION_BOUND = 8.0
ACTION_STEP = 2.0**-15
ACTION_SIZE = 2
REWARD_STEP = 2.0**-14
"""Rewards are rounded to this: finer than any physics in them, and a fifth smaller on the wire than float32 noise."""

LOOKAHEAD_M = (0.0, 6.0, 13.0, 21.0, 31.0, 43.0, 58.0, 76.0, 98.0, 125.0, 160.0, 205.0, 260.0)
"""Borders of the look-ahead intervals, m along the centreline; 260 m is what a GT3 car needs to brake from 75 m/s."""
SHAPE_INTERVALS = 8
"""So many of the intervals, the near ones, are shown with their signed mean curvature: which way to steer."""
BEND_INTERVALS = 7
"""So many of them, the far ones, are shown with the mean of its amount: how much to brake. Over a length like that
the halves of a chicane cancel in a signed mean, and a car at 70 m/s would see a straight."""
EDGE_LOOKAHEAD_M = (25.0, 60.0, 120.0)
SPARE_LOOKAHEAD_M = (0.0, 15.0, 40.0, 80.0, 130.0)
"""Where it is shown how much faster than now the road allows to be, in its middle and on the fast line: when to brake,
which curvatures tell only to a network that has learned their square roots and braking distances."""
LINE_LOOKAHEAD_M = (0.0, 10.0, 25.0, 45.0, 75.0)
"""Where it is shown how far aside of the car's place in the road the fast line lies."""
_SHAPE_BORDERS = np.array(LOOKAHEAD_M[: SHAPE_INTERVALS + 1])
_BEND_BORDERS = np.array(LOOKAHEAD_M[-BEND_INTERVALS - 1 :])


@dataclass(frozen=True, slots=True)
class Channel:
    """One column of a space, for people: its number is the value in `unit`, divided by `scale`."""

    name: str
    unit: str = ""
    scale: float = 1.0


CHANNELS: tuple[Channel, ...] = (
    Channel("speed_forward", "m/s", 40.0),
    Channel("speed_left", "m/s", 5.0),
    Channel("yaw_rate", "rad/s", 0.8),
    Channel("acceleration_forward", "m/s^2", 10.0),
    Channel("acceleration_left", "m/s^2", 15.0),
    Channel("front_slip", "of the tyre's peak", 2.0),
    Channel("rear_slip", "of the tyre's peak", 2.0),
    Channel("engine_speed", "rpm", 8000.0),
    Channel("gear", "-", 4.0),
    Channel("steer_applied", "of full lock", 1.0),
    Channel("last_steer_action", "of full lock", 1.0),
    Channel("last_pedal_action", "throttle less brake", 1.0),
    Channel("earlier_steer_action", "of full lock", 1.0),
    Channel("earlier_pedal_action", "throttle less brake", 1.0),
    Channel("gap", "m", 5.0),
    Channel("heading_error", "rad", 0.5),
    Channel("room_left", "m", 6.0),
    Channel("room_right", "m", 6.0),
    *(Channel(f"curvature_{near:.0f}_{far:.0f}m", "1/m", 0.03) for near, far in itertools.pairwise(_SHAPE_BORDERS)),
    *(Channel(f"bend_{near:.0f}_{far:.0f}m", "1/m", 0.015) for near, far in itertools.pairwise(_BEND_BORDERS)),
    *(Channel(f"width_left_{ahead:.0f}m", "m", 8.0) for ahead in EDGE_LOOKAHEAD_M),
    *(Channel(f"width_right_{ahead:.0f}m", "m", 8.0) for ahead in EDGE_LOOKAHEAD_M),
    *(Channel(f"spare_speed_{ahead:.0f}m", "m/s", 15.0) for ahead in SPARE_LOOKAHEAD_M),
    *(Channel(f"line_spare_speed_{ahead:.0f}m", "m/s", 15.0) for ahead in SPARE_LOOKAHEAD_M),
    *(Channel(f"line_left_{ahead:.0f}m", "m", 5.0) for ahead in LINE_LOOKAHEAD_M),
)
"""The observation's columns in order, clipped to [-8, 8). A quantity that the car does not report (None) reads 0."""

OBSERVATION_SIZE = len(CHANNELS)
_HIGHEST = OBSERVATION_BOUND - OBSERVATION_STEP
OBSERVATION_SPACE = spaces.Box(-OBSERVATION_BOUND, _HIGHEST, (OBSERVATION_SIZE,), np.float32)
ACTION_SPACE = spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)
"""Steer and pedals; what is applied is rounded to the grid and below 1."""
_TURNED = (
    "speed_left",
    "yaw_rate",
    "acceleration_left",
    "steer_",
    "last_steer",
    "earlier_steer",
    "gap",
    "heading_error",
)
_TURNED_AHEAD = ("curvature_", "line_left_")


def _mirrored() -> tuple[IntArray, Float32Array]:
    names = [channel.name for channel in CHANNELS] + ["steer", "pedals"]
    places, signs = np.arange(len(names)), np.ones(len(names), np.float32)
    for place, name in enumerate(names):
        if name == "steer" or name.startswith(_TURNED + _TURNED_AHEAD):
            signs[place] = -1.0
        elif name.startswith(("room_", "width_")):
            sides = {"left": "right", "right": "left"}
            places[place] = names.index("_".join(sides.get(part, part) for part in name.split("_")))
    return places, signs


MIRRORED = _mirrored()
"""For each column of observation and action (D + A): which one a mirror shows in its place, and with which sign."""
_SCALES = np.array([channel.scale for channel in CHANNELS])
_SHAPE = slice(18, 18 + SHAPE_INTERVALS)
_BEND = slice(_SHAPE.stop, _SHAPE.stop + BEND_INTERVALS)
_EDGE_LOOKAHEAD = np.array(EDGE_LOOKAHEAD_M)
_LINE = slice(OBSERVATION_SIZE - len(LINE_LOOKAHEAD_M), OBSERVATION_SIZE)
_LINE_SPARE = slice(_LINE.start - len(SPARE_LOOKAHEAD_M), _LINE.start)
_SPARE = slice(_LINE_SPARE.start - len(SPARE_LOOKAHEAD_M), _LINE_SPARE.start)
_SPARE_LOOKAHEAD = np.array(SPARE_LOOKAHEAD_M)
_LINE_LOOKAHEAD = np.array(LINE_LOOKAHEAD_M)


class End(IntEnum):
    """Why an episode ended; NONE while it goes on. TIME is a truncation, all others terminate."""

    NONE = 0
    OFF_TRACK = 1
    CRASH = 2
    REVERSED = 3
    STALLED = 4
    TIME = 5


_IMPACT_SPEED = 50.0


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """What the task must remember of N cars between two steps; every field has the leading shape (N,).

    `pace` is the part of the fast line's speed that a car has, in m/s, as `Task._pace_at` says.
    """

    projection: Projection
    pace: FloatArray
    last_action: Float32Array
    earlier_action: Float32Array
    started: FloatArray
    slow_since: FloatArray
    steps: IntArray
    total_reward: FloatArray
    lap_progress: FloatArray
    lap_started: FloatArray
    lap_clean: BoolArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step of N cars brought.

    Attributes:
        reward: (N,) float32.
        terminated, truncated: (N,) bool, never both.
        end: (N,) int64 of `End`.
        lap_time: (N,) s of a lap completed in this step, NaN where none was.
        lap_clean: (N,) bool, True where the completed lap never had more than two wheels out.
    """

    reward: Float32Array
    terminated: BoolArray
    truncated: BoolArray
    end: IntArray
    lap_time: FloatArray
    lap_clean: BoolArray


STALL_SPEED = 1.4
"""m/s (5 km/h), below which a car counts as standing; the limit of the published environment (arXiv 2407.16680)."""
STALL_SECONDS = 3.0


def on_observation_grid(values: FloatArray) -> Float32Array:
    """Clip to [-8, 8) and round to multiples of 2^-12; float32, same shape; NaN stays NaN."""
    return _on_grid(values, OBSERVATION_STEP, OBSERVATION_BOUND)


def on_action_grid(values: npt.NDArray[np.floating]) -> Float32Array:
    """Clip to [-1, 1) and round to multiples of 2^-15 (the resolution of a 16-bit axis); float32, same shape."""
    return _on_grid(values, ACTION_STEP, 1.0)


def _on_grid(values: npt.NDArray[np.floating], step: float, bound: float) -> Float32Array:
    steps = np.clip(np.rint(np.asarray(values, dtype=np.float64) / step), -bound / step, bound / step - 1.0)
    # Adding zero turns -0.0, which no int16 can carry, into 0.0.
    grid: Float32Array = (steps * step + 0.0).astype(np.float32)
    return grid


def controls_of(action: Float32Array) -> Controls:
    """(N, 2) actions (steer, pedals) to controls: pedals above 0 press the throttle, below 0 the brake."""
    pedals = action[:, 1].astype(np.float64)
    return Controls(action[:, 0].astype(np.float64), np.maximum(pedals, 0.0), np.maximum(-pedals, 0.0))


class Task:
    """The task on one track: pure functions that share the track and the configuration."""

    def __init__(self, track: Track, config: TaskConfig | None = None) -> None:
        self.track = track
        self.config = config or TaskConfig()
        self._pace = pace_of(track)
        self._bends = np.concatenate([[0.0], np.cumsum(np.abs(track.curvature) * track.spacing)])

    def _bent_until(self, s: FloatArray) -> FloatArray:
        """Amount of turning from the start to arc length `s` (any shape), in rad, left and right alike."""
        laps, within = np.divmod(s, self.track.length)
        cells = within / self.track.spacing
        bent: FloatArray = laps * self._bends[-1] + np.interp(cells, np.arange(len(self._bends)), self._bends)
        return bent

    def _cells(self, s: FloatArray, ahead: FloatArray) -> IntArray:
        """Points (N, K) of the track at these distances (K,) ahead of arc lengths (N,)."""
        cells = (s[:, None] + ahead) / self.track.spacing
        return cells.astype(np.int64) % len(self.track.centre)

    def begin(self, state: CarState) -> TaskMemory:
        """The memory of N cars whose episodes start at `state`."""
        count, at = len(state.time), self.track.project(state.position)
        return TaskMemory(
            projection=at,
            pace=self._pace_at(state, at),
            last_action=np.zeros((count, ACTION_SIZE), np.float32),
            earlier_action=np.zeros((count, ACTION_SIZE), np.float32),
            started=state.time.copy(),
            slow_since=state.time.copy(),
            steps=np.zeros(count, np.int64),
            total_reward=np.zeros(count),
            lap_progress=np.full(count, np.nan),
            lap_started=state.time.copy(),
            lap_clean=np.ones(count, bool),
        )

    def observe(self, state: CarState, memory: TaskMemory) -> Float32Array:
        """The observation of N cars, (N, OBSERVATION_SIZE) float32 on the grid, columns as in CHANNELS."""
        at = memory.projection
        count = len(state.time)
        values = np.empty((count, OBSERVATION_SIZE))
        values[:, 0:2] = state.velocity
        values[:, 2] = state.yaw_rate
        values[:, 3:5] = 0.0 if state.acceleration is None else state.acceleration
        if state.wheel_slip is None:
            values[:, 5:7] = 0.0
        else:
            values[:, 5] = state.wheel_slip[:, :2].max(axis=1)
            values[:, 6] = state.wheel_slip[:, 2:].max(axis=1)
        values[:, 7] = state.engine_rpm
        values[:, 8] = state.gear
        values[:, 9] = state.steer
        values[:, 10:12] = memory.last_action
        values[:, 12:14] = memory.earlier_action
        values[:, 14] = at.gap
        values[:, 15] = wrapped(state.heading - at.heading)
        values[:, 16] = at.width_left - at.gap
        values[:, 17] = at.width_right + at.gap
        headings = self.track.heading_at(at.s[:, None] + _SHAPE_BORDERS)
        values[:, _SHAPE] = wrapped(np.diff(headings)) / np.diff(_SHAPE_BORDERS)
        bent = self._bent_until(at.s[:, None] + _BEND_BORDERS)
        values[:, _BEND] = np.diff(bent, axis=1) / np.diff(_BEND_BORDERS)
        left, right = self.track.widths_at(at.s[:, None] + _EDGE_LOOKAHEAD)
        values[:, _BEND.stop : _BEND.stop + 3] = left
        values[:, _BEND.stop + 3 : _SPARE.start] = right
        speed, cells = np.hypot(state.velocity[:, 0], state.velocity[:, 1]), self._cells(at.s, _SPARE_LOOKAHEAD)
        values[:, _SPARE] = self._pace.middle_speed[cells] - speed[:, None]
        values[:, _LINE_SPARE] = self._pace.line_speed[cells] - speed[:, None]
        values[:, _LINE] = self._pace.line_gap[self._cells(at.s, _LINE_LOOKAHEAD)] - at.gap[:, None]
        return on_observation_grid(values / _SCALES)

    def advance(self, memory: TaskMemory, state: CarState, action: Float32Array) -> tuple[TaskMemory, Outcome]:
        """What came of `action` (N, 2), judged by the state that followed it.

        Returns the memory for the next step (where an episode ended: for its last observation) and the outcome.
        """
        at = self.track.project(state.position, memory.projection.index)
        half = 0.5 * self.track.length
        progress = (at.s - memory.projection.s + half) % self.track.length - half
        speed = np.hypot(state.velocity[:, 0], state.velocity[:, 1])
        slow_since = np.where(speed < STALL_SPEED, memory.slow_since, state.time)
        end = self._ends(memory, state, at, slow_since)
        terminated = (end != End.NONE) & (end != End.TIME)
        pace = np.where(terminated, 0.0, self._pace_at(state, at))
        reward = self._reward(memory, state, action, progress, terminated, pace - memory.pace)
        lap_progress, lap_started, lap_clean, lap_time, clean = self._laps(memory, state, at, progress)
        following = replace(
            memory,
            projection=at,
            pace=pace,
            last_action=action,
            earlier_action=memory.last_action,
            slow_since=slow_since,
            steps=memory.steps + 1,
            total_reward=memory.total_reward + reward,
            lap_progress=lap_progress,
            lap_started=lap_started,
            lap_clean=lap_clean,
        )
        return following, Outcome(reward, terminated, end == End.TIME, end, lap_time, clean)

    def _pace_at(self, state: CarState, at: Projection) -> FloatArray:
        """How much of the fast line's speed here N cars have, (N,) m/s: all of it at most, and less beyond it again."""
        allowed: FloatArray = self._pace.line_speed[self._cells(at.s, np.zeros(1))[:, 0]]
        return np.maximum(0.0, allowed - np.abs(allowed - np.hypot(state.velocity[:, 0], state.velocity[:, 1])))

    def _ends(self, memory: TaskMemory, state: CarState, at: Projection, slow_since: FloatArray) -> IntArray:
        """(N,) of End; where several hold, the one that says most about the driving."""
        end = np.zeros(len(state.time), np.int64)
        end[state.time - memory.started >= self.config.max_episode_seconds] = End.TIME
        end[state.time - slow_since >= STALL_SECONDS] = End.STALLED
        # A spin ends when the car looks backwards: what follows is not driving, and the reset is quicker.
        end[np.abs(wrapped(state.heading - at.heading)) > 0.5 * np.pi] = End.REVERSED
        end[state.wheels_out >= 4] = End.OFF_TRACK
        end[state.collided] = End.CRASH
        return end

    def _reward(
        self,
        memory: TaskMemory,
        state: CarState,
        action: Float32Array,
        progress: FloatArray,
        terminated: BoolArray,
        won: FloatArray,
    ) -> Float32Array:
        """(N,) float32: progress, less what would make progress worthless."""
        config = self.config
        # Metres along the centreline: what a lap time is made of, at every step, without knowing a racing line.
        reward = config.progress_scale * progress
        # A pedal shows in metres only seconds later, where its share drowns in what others did. Pace won pays at once,
        # and costs as much when it is lost, at an end at the latest: over a drive that decides little (potential-based
        # shaping: Ng, Harada and Russell, ICML 1999), but each press of a pedal is told what it was worth.
        reward = reward + config.pace_scale * won
        # More than two wheels out voids a lap in the game; the penalty outweighs the metres won by a cut.
        beyond_two = np.maximum(state.wheels_out - 2, 0)
        reward = reward - config.wheels_out_penalty / config.control_hz * beyond_two
        # A wheel that saws costs a tyre and an arm: small, so that it only decides between equals. Over one period,
        # of the squared speed of the change.
        change = (action - memory.last_action).astype(np.float64)
        reward = reward - config.smoothness_penalty * config.control_hz * np.sum(change * change, axis=1)
        # The loss of all later progress punishes an end already; this adds what a near-standstill would not lose,
        # and, by the energy of the impact, makes each metre per second braked away worth something: without that,
        # a car too fast for a chicane loses as much by braking too little as by not braking, and never learns to.
        energy = np.sum(state.velocity * state.velocity, axis=1) / _IMPACT_SPEED**2
        reward = reward - terminated * (config.off_track_penalty + config.impact_penalty * energy)
        rounded: Float32Array = (np.rint(reward / REWARD_STEP) * REWARD_STEP).astype(np.float32)
        return rounded

    def _laps(
        self, memory: TaskMemory, state: CarState, at: Projection, progress: FloatArray
    ) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray, BoolArray]:
        """Laps from line to line; before the first crossing lap_progress is NaN.

        The crossing is interpolated within the step, so that lap times are finer than the control period.
        """
        length = self.track.length
        previous_s = memory.projection.s
        crossed = (progress > 0.0) & (previous_s + progress >= length)
        share = np.where(crossed, (length - previous_s) / np.where(crossed, progress, 1.0), 0.0)
        now = state.time - (1.0 - share) / self.config.control_hz
        within = memory.lap_clean & (state.wheels_out <= 2)
        lap_progress = memory.lap_progress + progress
        # Driving backwards over the line and forwards again is not a lap.
        completed = crossed & (lap_progress >= 0.9 * length)
        lap_time = np.where(completed, now - memory.lap_started, np.nan)
        new_lap = crossed & (np.isnan(memory.lap_progress) | completed)
        return (
            np.where(new_lap, at.s, lap_progress),
            np.where(new_lap, now, memory.lap_started),
            np.where(new_lap, state.wheels_out <= 2, within),
            lap_time,
            completed & within,
        )


def merge_memory(old: TaskMemory, fresh: TaskMemory, which: BoolArray) -> TaskMemory:
    """`old` where `which` (N,) is False, `fresh` where it is True."""

    def pick(before: Any, after: Any) -> Any:
        return np.where(which.reshape(-1, *([1] * (before.ndim - 1))), after, before)

    projection = Projection(*map(pick, old.projection, fresh.projection))
    names = [field.name for field in fields(TaskMemory)[1:]]
    return TaskMemory(projection, *(pick(getattr(old, name), getattr(fresh, name)) for name in names))

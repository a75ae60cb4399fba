"""Plans the actions of the next moments from a car that was seen a moment ago.

What was seen is rolled forward through the actions that are under way, to when the first new action can be there, and
on through the new ones: the driver acts on each predicted observation. Remembers what it has planned, so that it knows
what is under way; holds no connection and no clock. All times are s on the session's clock.
"""

from collections import deque
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from racing.car import CarState
from racing.evaluation import Actor
from racing.prediction import Prediction, steered
from racing.task import ACTION_SIZE, Float32Array, Task, TaskMemory, on_action_grid

ACTIONS: Final = 10
"""Of a chunk as a rule."""
HELD_SECONDS: Final = 0.2
"""For so long after a chunk's last action it is held before the watchdog takes over."""
FIRST_DELAY: Final = 0.1
"""s that are assumed before the first delay was measured."""
MOST_DELAY: Final = 2.0
"""s; nothing can be foretold of a car for longer."""
QUANTILE: Final = 0.5
"""Of the measured delays, what a chunk's first action is aimed at: a later chunk is used from where it is true."""
DELAYS: Final = 60


class Plan(NamedTuple):
    """Actions (H, N, 2) for N cars, the first from `first` on (s), each for a period; good until `expires`."""

    first: float
    actions: Float32Array
    expires: float


class Planner:
    """Plans for N cars that are seen together.

    Args:
        task: how states are observed.
        act: who drives.
        count: H, actions of a chunk.
        predict: how the car moves on.
        trained_delay: the delay that who drives has learned to live with, s: what he wants is good then and needs no
            prediction for it; 0 for one who learned without.
    """

    def __init__(
        self,
        task: Task,
        act: Actor,
        count: int = ACTIONS,
        predict: Prediction = steered,
        trained_delay: float = 0.0,
    ) -> None:
        self._task, self._act, self._count, self._predict = task, act, count, predict
        self._trained_delay = trained_delay
        self._period = 1.0 / task.config.control_hz
        self._delays: deque[float] = deque(maxlen=DELAYS)
        self._under_way: deque[tuple[float, Float32Array]] = deque()
        """Times of planned actions, in order, and the actions (N, 2)."""

    @property
    def delay(self) -> float:
        """s from a frame's time to its chunk's first action."""
        measured = float(np.quantile(self._delays, QUANTILE)) if self._delays else FIRST_DELAY
        # The actions' times are those of control steps; one that is there a moment later counts as in time.
        return self._period * max(1, int(np.ceil(min(measured, MOST_DELAY) / self._period - 0.5)))

    def begin(self) -> None:
        """An episode begins: nothing that was planned before is under way."""
        self._under_way.clear()

    def measured(self, delay: float) -> None:
        """The player says how old a chunk's observation was when the chunk arrived, s."""
        self._delays.append(delay)

    def plan(self, state: CarState, memory: TaskMemory) -> Plan:
        """What N cars are to do, which were just seen like this."""
        now = float(state.time[0])
        first = now + self.delay
        self._forget(now)
        applied = self._coming(now, first, memory)
        behind = max(0, len(applied) - int(np.ceil(self._trained_delay / self._period - 1e-6)))
        for action in applied[:behind]:
            state = self._predict(state, action, self._period)
        chosen = [memory.earlier_action, memory.last_action, *applied]
        actions = np.empty((self._count, len(state.time), ACTION_SIZE), np.float32)
        for place in range(self._count):
            at = self._task.track.project(state.position, memory.projection.index)
            memory = replace(memory, projection=at, last_action=chosen[-1], earlier_action=chosen[-2])
            actions[place] = on_action_grid(self._act(self._task.observe(state, memory), state))
            chosen.append(actions[place])
            applied.append(actions[place])
            state = self._predict(state, applied[behind + place], self._period)
        self._note(first, actions)
        return Plan(first, actions, first + self._count * self._period + HELD_SECONDS)

    def _coming(self, now: float, first: float, memory: TaskMemory) -> list[Float32Array]:
        """The actions of the control steps from `now` until before `first`."""
        coming, action, planned = [], memory.last_action, iter(self._under_way)
        following = next(planned, None)
        for step in range(round((first - now) / self._period)):
            until = now + (step + 0.5) * self._period
            while following is not None and following[0] < until:
                action = following[1]
                following = next(planned, None)
            coming.append(action)
        return coming

    def _note(self, first: float, actions: Float32Array) -> None:
        while self._under_way and self._under_way[-1][0] > first - 0.5 * self._period:
            self._under_way.pop()
        self._under_way.extend((first + place * self._period, action) for place, action in enumerate(actions))

    def _forget(self, now: float) -> None:
        while self._under_way and self._under_way[0][0] < now - 0.5 * self._period:
            self._under_way.popleft()

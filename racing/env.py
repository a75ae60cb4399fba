"""One simulated car as a Gymnasium environment, for everybody's libraries; driving itself is racing/driving.py's."""

from typing import Any

import gymnasium
import numpy as np

from racing.car import Car
from racing.clock import Clock
from racing.driving import VectorDriving
from racing.simulator import SimulatedCar
from racing.task import ACTION_SPACE, OBSERVATION_SPACE, Float32Array, Task, TaskConfig
from racing.track import Track


class RacingEnv(gymnasium.Env[Float32Array, Float32Array]):
    """One simulated car as a Gymnasium environment.

    Observation: Box(-8, 8, (OBSERVATION_SIZE,), float32), columns as in `racing.task.CHANNELS`.
    Action: Box(-1, 1, (2,), float32), (steer, pedals); rounded to the grid before it is applied.
    info: `lap_time` (s) and `lap_clean` on the step that completes a lap, `end` on the last step, `off_period`.

    `car` is another single car than the simulated one; `clock` paces the steps, by default in simulated time.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - the declaration that gymnasium.Env asks for

    def __init__(
        self,
        track: Track,
        config: TaskConfig | None = None,
        car: Car | None = None,
        clock: Clock | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode is {render_mode!r}: this environment draws nothing, leave it None")
        self.render_mode = None
        self._driving = VectorDriving(car or SimulatedCar(track, count=1), Task(track, config), clock)
        if self._driving.car.count != 1:
            raise ValueError("RacingEnv drives one car; VectorDriving drives several")
        self.observation_space, self.action_space = OBSERVATION_SPACE, ACTION_SPACE

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Start an episode; a seed makes the simulated car's start repeatable."""
        super().reset(seed=seed, options=options)
        car = self._driving.car
        if seed is not None and isinstance(car, SimulatedCar):
            car.reseed(seed)
        return self._driving.reset()[0], {}

    def step(self, action: Float32Array) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Drive one control period; a step after the end continues with the new episode's car, as reset would."""
        step = self._driving.step(np.asarray(action, np.float32)[None, :])
        info: dict[str, Any] = {"off_period": step.off_period}
        for lap in step.laps:
            info |= {"lap_time": lap.time, "lap_clean": lap.clean}
        for episode in step.episodes:
            info |= {"end": episode.reason}
        terminated, truncated = bool(step.terminated[0]), bool(step.truncated[0])
        return step.next_observation[0], float(step.reward[0]), terminated, truncated, info

    def close(self) -> None:
        """Release the car."""
        self._driving.car.close()

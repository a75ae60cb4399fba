"""`python -m scripts.bench.simulator`: how many control steps a second the simulator and the task make on one core,
for one car and for many, beside gymnasium's CarRacing-v3. Rounds of all of them take turns, so that a busy machine
slows them alike; prints a Markdown table of medians. A simulated step is 1/20 s, one of CarRacing 1/50 s.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np

from racing.driving import VectorDriving
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig, on_action_grid
from racing.track import Track
from scripts.bench.setting import setting

TRACK_SEED = 7
MANY_CARS = 64
CONTROL_SECONDS = 1.0 / TaskConfig().control_hz
CAR_RACING_SECONDS = 1.0 / 50.0
NAMES = (
    "simulator, 1 car",
    f"simulator, {MANY_CARS} cars",
    "simulator and task, 1 car",
    f"simulator and task, {MANY_CARS} cars",
    "CarRacing-v3 (gymnasium)",
)


def simulator(cars: int) -> Callable[[], int]:
    """One control period of the cars alone, driven by the reference driver's latest controls."""
    track = Track.generate(TRACK_SEED)
    car, driver = SimulatedCar(track, count=cars), ReferenceDriver(track)
    steps = 0

    def step() -> int:
        nonlocal steps
        # The yardstick's own arithmetic is not what is measured here: it looks at the road every tenth step.
        if steps % 10 == 0:
            state = car.read()
            car.reset(state.collided | (state.wheels_out == 4))
            car.apply(driver.controls(car.read()))
        car.advance(CONTROL_SECONDS)
        steps += 1
        return cars

    return step


def simulator_and_task(cars: int) -> Callable[[], int]:
    """What a bridge does in a step but for the policy: controls, physics, observation, reward, ends, restarts."""
    track = Track.generate(TRACK_SEED)
    driving = VectorDriving(SimulatedCar(track, count=cars), Task(track))
    driving.reset()
    rng = np.random.default_rng(0)
    # Mostly straight on with some throttle: cars drive, leave the road and start again, as they do in learning.
    actions = on_action_grid(rng.normal([0.0, 0.3], [0.2, 0.3], (1000, cars, 2)).clip(-1.0, 1.0))
    steps = 0

    def step() -> int:
        nonlocal steps
        driving.step(actions[steps % len(actions)])
        steps += 1
        return cars

    return step


def car_racing() -> Callable[[], int]:
    """One step of gymnasium's car, with its 96 x 96 picture, which is its observation."""
    env = gymnasium.make("CarRacing-v3")
    env.reset(seed=0)
    action = np.array([0.0, 0.2, 0.0], np.float32)

    def step() -> int:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
        return 1

    return step


def rate(step: Callable[[], int], seconds: float) -> float:
    """Steps of cars a second, over about this time."""
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        done += step()
    return done / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Steps a second of the simulator and the task.")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="time of one measurement, s")
    options = parser.parse_args()
    makers = (
        simulator(1),
        simulator(MANY_CARS),
        simulator_and_task(1),
        simulator_and_task(MANY_CARS),
        car_racing(),
    )
    for step in makers:
        rate(step, 0.3)
    rates: list[list[float]] = [[] for _ in makers]
    for _ in range(options.rounds):
        for mine, step in zip(rates, makers, strict=True):
            mine.append(rate(step, options.seconds))
    yardstick = statistics.median(rates[-1])
    print(setting("numpy", "gymnasium") + "\n")
    print("| | steps/s | of CarRacing | times real time, all cars together |")
    print("|---|---|---|---|")
    for name, mine in zip(NAMES, rates, strict=True):
        middle = statistics.median(mine)
        step_seconds = CAR_RACING_SECONDS if name == NAMES[-1] else CONTROL_SECONDS
        print(f"| {name} | {middle:,.0f} | {middle / yardstick:.1f} | {middle * step_seconds:,.0f} |")


if __name__ == "__main__":
    main()

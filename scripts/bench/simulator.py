"""`python -m scripts.bench.simulator`: control steps a second of the simulator and the task on one core.

For one car and for many, beside gymnasium's CarRacing-v3. A simulated step is 1/20 s, one of CarRacing 1/50 s.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import count, cycle

import gymnasium
import numpy as np

from racing.driving import VectorDriving
from racing.reference_driver import ReferenceDriver
from racing.simulator import SimulatedCar
from racing.task import Task, TaskConfig, on_action_grid
from racing.track import Track
from scripts.bench.measuring import head, medians, options, row
from scripts.bench.setting import setting

TRACK_SEED = 7
MANY_CARS = 64
CONTROL_SECONDS = 1.0 / TaskConfig().control_hz
CAR_RACING_SECONDS = 1.0 / 50.0
CAR_RACING = "CarRacing-v3 (gymnasium)"


def simulator(cars: int) -> Callable[[], int]:
    """One control period of the cars alone, driven by the reference driver's latest controls."""
    track = Track.generate(TRACK_SEED)
    car, driver = SimulatedCar(track, count=cars), ReferenceDriver(track)
    number = count()

    def step() -> int:
        # The yardstick's own arithmetic is not what is measured here: it looks at the road every tenth step.
        if next(number) % 10 == 0:
            state = car.read()
            car.reset(state.collided | (state.wheels_out == 4))
            car.apply(driver.controls(car.read()))
        car.advance(CONTROL_SECONDS)
        return cars

    return step


def simulator_and_task(cars: int) -> Callable[[], int]:
    """What a bridge does in a step but for the policy: controls, physics, observation, reward, ends, restarts."""
    track = Track.generate(TRACK_SEED)
    driving = VectorDriving(SimulatedCar(track, count=cars), Task(track))
    driving.reset()
    rng = np.random.default_rng(0)
    # Mostly straight on with some throttle: cars drive, leave the road and start again, as they do in learning.
    actions = cycle(on_action_grid(rng.normal([0.0, 0.3], [0.2, 0.3], (1000, cars, 2)).clip(-1.0, 1.0)))

    def step() -> int:
        driving.step(next(actions))
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
    wanted = options(__doc__, rounds=(7, "how often each is measured"), seconds=(1.0, "time of one measurement, s"))
    steps = {
        "simulator, 1 car": simulator(1),
        f"simulator, {MANY_CARS} cars": simulator(MANY_CARS),
        "simulator and task, 1 car": simulator_and_task(1),
        f"simulator and task, {MANY_CARS} cars": simulator_and_task(MANY_CARS),
        CAR_RACING: car_racing(),
    }
    rates = medians({name: partial(rate, step, wanted.seconds) for name, step in steps.items()}, wanted.rounds)
    print(setting("numpy", "gymnasium") + "\n")
    print(head("", "steps/s", "of CarRacing", "times real time, all cars together"))
    for name, found in rates.items():
        step_seconds = CAR_RACING_SECONDS if name == CAR_RACING else CONTROL_SECONDS
        print(row(name, f"{found:,.0f}", f"{found / rates[CAR_RACING]:.1f}", f"{found * step_seconds:,.0f}"))


if __name__ == "__main__":
    main()

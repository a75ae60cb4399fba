"""A delayed car obeys when its controls arrive, and not what was meant for it before its reset."""

import numpy as np

from racing.car import Controls
from racing.delayed_car import DelayedCar
from racing.link_model import LinkModel
from racing.simulator import SimulatedCar
from racing.track import Track

TRACK = Track.generate(3, 1200.0)
PERIOD = 0.05


def throttle(*values: float) -> Controls:
    given = np.array(values)
    return Controls(np.zeros(len(given)), given, np.zeros(len(given)))


def applied(car: DelayedCar, controls: Controls) -> list[float]:
    car.apply(controls)
    car.advance(PERIOD)
    return [float(value) for value in car.read().throttle]


def test_controls_are_obeyed_as_late_as_the_link_is() -> None:
    car = DelayedCar(SimulatedCar(TRACK, start="line"), LinkModel((2 * PERIOD, 2 * PERIOD)))
    given = [0.1 * number for number in range(1, 9)]
    seen = [applied(car, throttle(value))[0] for value in given]
    assert seen == [0.0, 0.0, *given[:-2]]


def test_what_is_on_its_way_to_a_car_that_starts_afresh_does_nothing() -> None:
    car = DelayedCar(SimulatedCar(TRACK, count=2, start="line"), LinkModel((2 * PERIOD, 2 * PERIOD)))
    for _ in range(5):
        applied(car, throttle(0.5, 0.6))
    car.reset(np.array([True, False]))
    assert [applied(car, throttle(0.7, 0.8)) for _ in range(3)] == [[0.0, 0.6], [0.0, 0.6], [0.7, 0.8]]


def test_without_a_delay_it_is_the_car() -> None:
    late, own = DelayedCar(SimulatedCar(TRACK, seed=5), LinkModel((0.0, 0.0))), SimulatedCar(TRACK, seed=5)
    for number in range(40):
        for car in (late, own):
            car.apply(throttle(0.02 * number))
            car.advance(PERIOD)
    assert (late.read().position == own.read().position).all()

"""Where N cars will be a moment later, for a driver whose actions arrive late.

Three models, from none to one that knows what the controls do. They hold for about a second; none knows the road.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from racing.car import CarState, FloatArray, body_velocity
from racing.task import Float32Array, controls_of
from racing.vehicle import GRAVITY, GT3, Vehicle

_GEARED_SPEED = 25.0
"""m/s below which first gear, not power, limits the push."""
_CHARACTERISTIC_SPEED = 45.0
"""m/s at which an understeering car turns half as much for its steering as one that rolls without slip would."""
_YAW_LAG = 0.1
"""s in which the car takes up the turning that its steering asks for (first order)."""

Prediction = Callable[[CarState, Float32Array, float], CarState]
"""States of N cars some seconds after these ones, during which actions (N, 2) are applied."""


def stays(state: CarState, _action: Float32Array, _seconds: float) -> CarState:
    """Nothing moves: the driver acts on what it has seen."""
    return state


def turns_on(state: CarState, _action: Float32Array, seconds: float) -> CarState:
    """Turn rate and acceleration stay as they are (the CTRA model of tracking), whatever the controls do."""
    return _moved(state, seconds, state.yaw_rate, _forward(state), state)


def steered(state: CarState, action: Float32Array, seconds: float, vehicle: Vehicle = GT3) -> CarState:
    """As `turns_on`, with what the controls change: a bicycle's turning and the push and pull of the pedals.

    Only changes count, added to what the car was seen to do, so that another car than `vehicle` is met too.
    """
    controls = controls_of(action)
    reach = vehicle.steer_rate * seconds
    steer = state.steer + np.clip(controls.steer - state.steer, -reach, reach)
    speed = np.maximum(state.velocity[:, 0], 0.0)
    gain = speed * vehicle.full_lock / (vehicle.wheelbase * (1.0 + (speed / _CHARACTERISTIC_SPEED) ** 2))
    grip = vehicle.cornering_friction * (GRAVITY + vehicle.downforce / vehicle.mass * speed * speed)
    most = grip / np.maximum(speed, 5.0)
    aim = np.clip(gain * steer, -most, most)
    yaw_rate = state.yaw_rate + (aim - state.yaw_rate) * -np.expm1(-seconds / _YAW_LAG)
    push = vehicle.peak_power / (vehicle.mass * np.maximum(speed, _GEARED_SPEED))
    pull = vehicle.brake_torque / (vehicle.wheel_radius * vehicle.mass)

    def pedals(throttle: FloatArray, brake: FloatArray) -> FloatArray:
        return np.clip(push * throttle, 0.0, 0.6 * grip) - np.clip(pull * brake, 0.0, grip)

    change = pedals(controls.throttle, controls.brake) - pedals(state.throttle, state.brake)
    applied = replace(state, steer=steer, throttle=controls.throttle, brake=controls.brake)
    return _moved(state, seconds, yaw_rate, _forward(state) + change, applied)


PREDICTIONS: dict[str, Prediction] = {"stays": stays, "turns on": turns_on, "steered": steered}


def _forward(state: CarState) -> FloatArray:
    """Forward acceleration, m/s^2, without what the turning of the car's own axes adds."""
    return np.zeros(len(state.time)) if state.acceleration is None else state.acceleration[:, 0]


def _moved(state: CarState, seconds: float, yaw_rate: FloatArray, forward: FloatArray, applied: CarState) -> CarState:
    turned = 0.5 * (state.yaw_rate + yaw_rate) * seconds
    speed = np.maximum(state.velocity[:, 0] + seconds * forward, 0.0)
    velocity = np.stack([speed, state.velocity[:, 1]], axis=1)
    mean = 0.5 * (state.velocity + velocity)
    acceleration = state.acceleration
    if acceleration is not None:
        aside = acceleration[:, 1] + (yaw_rate - state.yaw_rate) * speed
        acceleration = np.stack([forward, aside], axis=1)
    return replace(
        applied,
        time=state.time + seconds,
        position=state.position + seconds * body_velocity(mean, -(state.heading + 0.5 * turned)),
        heading=state.heading + turned,
        velocity=velocity,
        acceleration=acceleration,
        yaw_rate=yaw_rate,
    )

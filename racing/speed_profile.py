"""How fast a car can be at each point of a closed line: limited by grip, engine and brakes.

The usual quasi-steady lap simulation (Milliken ch. 2, Kapania et al. 2016): cornering limit first, then one pass
forward for what the engine gives and one backward for what the brakes take, sharing the tyres by the friction ellipse.
"""

import numpy as np

from racing.car import FloatArray
from racing.vehicle import GRAVITY, Vehicle

_LOWEST, _HIGHEST = 5.0, 95.0


def speed_profile(curvature: FloatArray, spacing: float, vehicle: Vehicle, use: float = 1.0) -> FloatArray:
    """Return the speed (M,) in m/s at evenly spaced points of a closed line.

    `curvature` (M,) in 1/m, `spacing` in metres; `use` is the share of the tyres' grip that may be taken, 0 to 1.
    """
    friction = use * 0.95 * vehicle.cornering_friction
    down = vehicle.downforce / vehicle.mass
    bend = np.abs(curvature)
    # friction (g + down v^2) = bend v^2; where downforce outgrows the bend there is no limit.
    room = np.maximum(bend - friction * down, 1e-6)
    limit = np.clip(np.sqrt(friction * GRAVITY / room), _LOWEST, _HIGHEST)
    speeds, bends = limit.tolist(), bend.tolist()
    drag = vehicle.drag / vehicle.mass
    driven = 1.0 - vehicle.front_weight + 0.1
    power = vehicle.peak_power

    def spare(speed: float, bend_here: float) -> float:
        grip = friction * (GRAVITY + down * speed * speed)
        used = min(1.0, bend_here * speed * speed / grip)
        return grip * float(np.sqrt(1.0 - used * used))

    count = len(speeds)
    for i in range(2 * count):
        here, ahead = i % count, (i + 1) % count
        v = speeds[here]
        push = min(driven * spare(v, bends[here]), power / (vehicle.mass * v)) - drag * v * v
        speeds[ahead] = min(speeds[ahead], float(np.sqrt(max(v * v + 2.0 * push * spacing, _LOWEST**2))))
    for i in range(2 * count, 0, -1):
        here, before = i % count, (i - 1) % count
        v = speeds[here]
        pull = 0.85 * spare(v, bends[before]) + drag * v * v
        speeds[before] = min(speeds[before], float(np.sqrt(v * v + 2.0 * pull * spacing)))
    return np.array(speeds)

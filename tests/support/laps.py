"""Laps that tests make up."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from racing.lap import Lap

BEGUN = datetime(2026, 11, 30, 8, 9, 10, tzinfo=UTC)


def made_lap(count: int = 101, time: float = 4.0, seed: int = 0, **changes: Any) -> Lap:
    """A lap of `count` samples whose values are drawn by `seed`; `changes` replace fields."""
    random = np.random.default_rng(seed)
    metres = np.concatenate([[0.0], np.cumsum(random.uniform(0.5, 2.0, count - 1))])
    values: dict[str, Any] = {
        "name": "lap 3",
        "track": "monza",
        "driver": "human",
        "begun": BEGUN,
        "seconds": np.linspace(0.0, time, count),
        "metres": metres,
        "speed": random.uniform(0.0, 90.0, count),
        "throttle": random.uniform(0.0, 1.0, count),
        "brake": random.uniform(0.0, 1.0, count),
        "steer": random.uniform(-1.0, 1.0, count),
        "gear": random.integers(-1, 7, count),
        "engine_speed": random.uniform(100.0, 900.0, count),
        "gap": random.uniform(-5.0, 5.0, count),
        "x": random.uniform(-900.0, 900.0, count),
        "y": random.uniform(-900.0, 900.0, count),
        "acceleration_forward": random.uniform(-30.0, 15.0, count),
        "acceleration_left": random.uniform(-30.0, 30.0, count),
        "yaw_rate": random.uniform(-1.0, 1.0, count),
        "car": "ks_porsche_911_gt3_r_2016",
    }
    return Lap(**(values | changes))

"""Recordings of drives that tests make up, in the columns of assetto_corsa_gym."""

import csv
from pathlib import Path

import numpy as np

from racing.recorded_car import REQUIRED_COLUMNS
from racing.track import Track


def write(path: Path, rows: list[dict[str, float]]) -> Path:
    """Write a recording; returns its path."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def straight(count: int, start: float = 0.0, **changes: float) -> list[dict[str, float]]:
    """Rows of a car that goes along +x at 10 m/s and 25 Hz."""
    row = dict.fromkeys(REQUIRED_COLUMNS, 0.0) | {"velocity_z": 10.0, "actualGear": 3.0, "RPM": 4000.0}
    return [row | {"currentTime": 0.04 * k, "world_position_x": start + 0.4 * k} | changes for k in range(count)]


def along(track: Track, count: int) -> list[dict[str, float]]:
    """Rows of a car that follows the centreline at 10 m/s and 25 Hz."""
    s = 0.4 * np.arange(count, dtype=np.float64)
    position, heading = track.position_at(s), track.heading_at(s)
    return [
        row
        | {
            "world_position_x": float(position[k, 0]),
            "world_position_y": float(position[k, 1]),
            "yaw": float(heading[k]),
            "velocity_z": 10.0 * float(np.cos(heading[k])),
            "velocity_x": 10.0 * float(np.sin(heading[k])),
        }
        for k, row in enumerate(straight(count))
    ]

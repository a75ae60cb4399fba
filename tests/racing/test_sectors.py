"""Sector times of a lap from the speeds of its steps; that they are right on tracks is shown with real laps."""

import numpy as np
import pytest

from racing.sectors import sector_times, speed_along
from racing.task import CHANNELS, OBSERVATION_SIZE, on_observation_grid


def test_a_third_of_the_way_is_a_sector_whatever_the_steps_add_up_to() -> None:
    # 300 m at 10, 20 and 30 m/s, 100 m each, in steps of 0.1 s.
    speeds = np.repeat([10.0, 20.0, 30.0], [100, 50, 34])
    lap_time = 10.0 + 5.0 + 100.0 / 30.0
    for scale in (1.0, 0.97):
        times = sector_times(scale * speeds, np.full(184, 0.1), 0.0, lap_time)
        assert times == pytest.approx(np.array([10.0, 5.0, 100.0 / 30.0]), rel=1e-9)


def test_a_lap_begins_and_ends_within_steps() -> None:
    times = sector_times(np.full(7, 15.0), np.full(7, 1.0), 0.25, 6.0)
    assert times == pytest.approx(np.full(3, 2.0))


@pytest.mark.parametrize(
    ("speed", "start", "lap_time"),
    [(10.0, -0.1, 1.0), (10.0, 0.0, 1.3), (0.0, 0.0, 1.0), (-10.0, 0.0, 1.0), (10.0, 0.0, float("nan"))],
)
def test_steps_that_hold_no_lap_have_no_sectors(speed: float, start: float, lap_time: float) -> None:
    assert sector_times(np.full(10, speed), np.full(10, 0.12), start, lap_time) is None


def test_who_drives_on_the_inside_of_a_bend_gets_on_faster() -> None:
    names = [channel.name for channel in CHANNELS]
    seen = {"speed_forward": 20.0, "speed_left": 2.0, "heading_error": 0.25, "gap": 5.0, "curvature_0_6m": 0.02}
    values = np.zeros((1, OBSERVATION_SIZE))
    for name, value in seen.items():
        column = names.index(name)
        values[0, column] = value / CHANNELS[column].scale
    along = (20.0 * np.cos(0.25) - 2.0 * np.sin(0.25)) / 0.9
    assert speed_along(on_observation_grid(values)) == pytest.approx(along, rel=1e-3)

"""The game's axes become a map seen from above: judged by a real course, a surveyed one and recorded laps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.assetto_corsa.reading.axes import game_direction, game_position, ground_heading, plane_vector
from racing.car import FloatArray, body_velocity
from racing.closed_line import wrapped
from racing.track import Track
from racing.track_file import read_columns
from tests.support.real_data import real_data

ANGLES = st.floats(-20.0, 20.0)
METRES = st.floats(-1e5, 1e5)


def junior() -> tuple[FloatArray, FloatArray]:
    """Monza's junior course: (n, 2) x and z of the line, and (n, 18) details, read by the documented offsets alone."""
    data = real_data("fast_lane/monza_junior.ai").read_bytes()
    count = int.from_bytes(data[4:8], "little")
    points = np.frombuffer(data, "<f4", 5 * count, offset=16).reshape(count, 5)
    details = np.frombuffer(data, "<f4", 18 * count, offset=20 + 20 * count).reshape(count, 18)
    return points[:, [0, 2]].astype(np.float64), details.astype(np.float64)


def recorded() -> dict[str, FloatArray]:
    columns = read_columns(real_data("telemetry/monza_25hz_two_laps.csv"), "recording", "")
    return {name: values[columns["speed"] > 15.0] for name, values in columns.items()}


def nearest(points: FloatArray, line: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(points[:, None] - line, axis=2).min(axis=1))


def test_the_course_that_is_driven_clockwise_runs_clockwise() -> None:
    line, _ = junior()
    x, y = plane_vector(line[:, 0], line[:, 1]).T
    assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0.0


def test_both_edges_of_the_course_lie_where_the_surveyed_circuit_has_them() -> None:
    line, details = junior()
    position = plane_vector(line[:, 0], line[:, 1])
    forward = plane_vector(details[:, 13], details[:, 15])
    left = np.stack([-forward[:, 1], forward[:, 0]], axis=1)
    monza = read_columns(real_data("tracks/monza.csv"), "track", "")
    left_border = np.stack([monza["left_border_x"], monza["left_border_y"]], axis=1)
    right_border = np.stack([monza["right_border_x"], monza["right_border_y"]], axis=1)
    shared = nearest(position, 0.5 * (left_border + right_border)) < 6.0
    assert shared.mean() > 0.5
    left_edge = (position + left * details[:, 5:6])[shared]
    right_edge = (position - left * details[:, 6:7])[shared]
    assert np.median(nearest(left_edge, left_border)) < 1.0
    assert np.median(nearest(right_edge, right_border)) < 2.0


def test_recorded_cars_go_where_their_heading_points_and_lie_on_the_track() -> None:
    laps = recorded()
    velocity = plane_vector(laps["velocity_x"], laps["velocity_z"])
    heading = ground_heading(-laps["yaw"])
    course = np.arctan2(velocity[:, 1], velocity[:, 0])
    assert np.median(np.abs(wrapped(course - heading))) < 0.01
    forward, sideways = body_velocity(velocity, heading).T
    assert forward.min() > 10.0
    assert np.median(np.abs(sideways)) < 0.5
    track = Track.from_csv(real_data("tracks/monza.csv"))
    # The source names the game's z world_position_x and the game's x world_position_y.
    at = track.project(plane_vector(laps["world_position_y"], laps["world_position_x"]))
    assert np.mean((at.gap < at.width_left) & (at.gap > -at.width_right)) > 0.95
    assert np.median(np.abs(wrapped(heading - at.heading))) < 0.05


@given(x=METRES, y=METRES, heading=ANGLES)
def test_there_and_back_changes_nothing(x: float, y: float, heading: float) -> None:
    assert plane_vector(*game_position(np.array([x, y]))).tolist() == [x, y]
    assert float(ground_heading(ground_heading(heading))) == heading


@given(heading=ANGLES)
def test_a_car_points_where_its_direction_in_the_game_says(heading: float) -> None:
    ahead, aside = body_velocity(plane_vector(*game_direction(heading)), np.array(heading))
    assert (ahead, aside) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))

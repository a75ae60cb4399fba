"""The game's own line gives a track to drive on, and a damaged file a sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.assetto_corsa.files.fast_lane import NoCircuit, fast_lane_track, read_fast_lane
from racing.evaluation import drive_laps, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import Track, TrackError
from tests.support.fast_lane_writer import (
    SIDE_LEFT,
    SIDE_RIGHT,
    fast_lane,
    half_way,
    points_in,
    truncated,
    with_count,
    with_detail,
    with_detail_count,
    with_point,
    with_version,
    write_fast_lane,
)
from tests.support.real_data import real_data

TRACK = Track.generate(7)
GOOD = fast_lane(TRACK, gap=1.0)
NAN = float("nan")


def test_a_written_track_is_read_back_though_the_line_is_not_its_centre(tmp_path: Path) -> None:
    track = fast_lane_track(write_fast_lane(tmp_path, TRACK, fast_lane(TRACK, gap=-1.5)), "spa/short", TRACK.length)
    assert track.name == "spa/short"
    assert track.length == pytest.approx(TRACK.length, rel=0.01)
    at = TRACK.project(track.centre)
    # In hairpins the smoothed middle lies a little inside; the edges stay where they are.
    assert np.abs(at.gap - 0.5 * (at.width_left - at.width_right)).max() < 0.8
    left, right = at.width_left - at.gap, at.width_right + at.gap
    assert np.abs(track.width_left - left).max() < 0.25
    assert np.abs(track.width_right - right).max() < 0.25


def test_the_line_starts_where_the_track_starts_and_runs_its_way(tmp_path: Path) -> None:
    track = fast_lane_track(write_fast_lane(tmp_path, TRACK, GOOD), "ring")
    at = TRACK.project(track.centre[:50])
    assert abs((at.s[0] + 10.0) % TRACK.length - 10.0) < 3.0
    assert np.diff(at.s[2:]).min() > 0.0


def test_the_sides_are_those_of_the_line_itself(tmp_path: Path) -> None:
    lane = read_fast_lane(write_fast_lane(tmp_path, TRACK, GOOD))
    at = TRACK.project(lane.line)
    np.testing.assert_allclose(at.gap, 1.0, atol=0.05)
    np.testing.assert_allclose(lane.side_left, at.width_left - 1.0, atol=0.05)
    np.testing.assert_allclose(lane.side_right, at.width_right + 1.0, atol=0.05)


def test_monzas_junior_course_is_a_closed_track_of_its_length_and_widths() -> None:
    path = real_data("fast_lane/monza_junior.ai")
    lane = read_fast_lane(path)
    assert lane.length == pytest.approx(2396, abs=6)
    track = fast_lane_track(path, "monza/junior", 2401.0)
    assert track.length == pytest.approx(2401, rel=0.01)
    assert track.curvature.sum() * track.spacing == pytest.approx(-2 * np.pi)
    width = track.width_left + track.width_right
    assert 8.0 < width.min() < np.median(width) < 12.0
    assert width.max() < 28.0
    at = track.project(lane.line)
    assert (at.gap < at.width_left).all()
    assert (at.gap > -at.width_right).all()
    assert 1 / np.abs(track.curvature).max() > 15.0


@pytest.mark.parametrize("side", [SIDE_LEFT, SIDE_RIGHT])
@pytest.mark.parametrize(
    ("first", "points", "metres"), [(600, 4, 50.0), (1000, 4, 90_000.0), (1564, 2, 50.0), (100, 40, 28.0)]
)
def test_a_paddock_beside_the_road_neither_refuses_the_file_nor_bends_the_track(
    tmp_path: Path, side: int, first: int, points: int, metres: float
) -> None:
    path = real_data("fast_lane/monza_junior.ai")
    data = path.read_bytes()
    for row in range(first, first + points):
        data = with_detail(data, row, side, metres)
    track = fast_lane_track(write_fast_lane(tmp_path, TRACK, data), "monza/junior", 2401.0)
    assert track.length == pytest.approx(2401, rel=0.01)
    assert 1 / np.abs(track.curvature).max() > 15.0
    assert (track.width_left + track.width_right).max() < 30.0
    assert min(track.width_left.min(), track.width_right.min()) > 3.0


def test_the_inside_of_a_bend_ends_before_its_middle(tmp_path: Path) -> None:
    angle = np.linspace(0.0, 2 * np.pi, 160, endpoint=False)
    ring = Track(25.0 * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full(160, 5.0), np.full(160, 5.0), "ring")
    data = fast_lane(ring)
    for row in range(points_in(data)):
        data = with_detail(data, row, SIDE_LEFT, 29.0)
    track = fast_lane_track(write_fast_lane(tmp_path, ring, data), "ring")
    assert (track.width_left + track.width_right).max() == pytest.approx(25.0, abs=0.5)


@pytest.mark.slow
def test_the_reference_driver_laps_monzas_junior_course_cleanly() -> None:
    track = fast_lane_track(real_data("fast_lane/monza_junior.ai"), "monza/junior")
    driver = ReferenceDriver(track)
    result = drive_laps(reference_actions(driver), track, 2, TaskConfig(control_hz=20.0))
    assert result.end == ""
    assert [lap.clean for lap in result.laps] == [True, True]
    assert result.laps[-1].time == pytest.approx(driver.lap_time_estimate, rel=0.08)


def test_a_line_of_another_layout_is_refused_by_its_length(tmp_path: Path) -> None:
    path = write_fast_lane(tmp_path, TRACK, GOOD)
    with pytest.raises(TrackError, match="belongs to another track or layout"):
        fast_lane_track(path, "ring", 1.1 * TRACK.length)
    assert fast_lane_track(path, "ring", 0.0).length == pytest.approx(TRACK.length, rel=0.01)


def test_a_road_that_does_not_come_back_to_its_start_is_no_circuit_whatever_its_length(tmp_path: Path) -> None:
    path = write_fast_lane(tmp_path, TRACK, half_way(GOOD))
    for spline_length in (None, 0.5 * TRACK.length, TRACK.length):
        with pytest.raises(NoCircuit, match=r"ring does not close: .* ends \d+ m from .*Only circuits") as refused:
            fast_lane_track(path, "ring", spline_length)
        assert "record-lap" not in str(refused.value)


def with_points_on_one_spot(data: bytes, row: int) -> bytes:
    for later in range(row, row + 3):
        data = with_point(data, later, 100.0, 0.0, 100.0)
    return data


def emptied_of_length(data: bytes) -> bytes:
    for row in range(points_in(data)):
        data = data[: 16 + 20 * row + 12] + bytes(4) + data[16 + 20 * row + 16 :]
    return data


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: truncated(data, 0), "ends after 0 bytes, within its header"),
        (lambda data: truncated(data, 15), "ends after 15 bytes, within its header"),
        (lambda data: truncated(data, 5000), "but it ends at 5000"),
        (lambda data: truncated(data, 16 + 92 * points_in(data) + 3), "but it ends at"),
        (lambda data: with_version(data, 6), "is of version 6, and only version 7 is understood"),
        (lambda data: with_version(data, -1), "is of version -1"),
        (lambda data: with_count(data, 0), "names 0 points, too few"),
        (lambda data: with_count(data, -5), "names -5 points, too few"),
        (lambda data: with_count(data, 2_000_000_000), "names 2000000000 points, which take"),
        (lambda data: with_detail_count(data, 3), "but sides for 3"),
        (lambda data: with_point(data, 4, NAN, 0.0, 0.0), "point 4 holds a value that is not a finite number"),
        (lambda data: with_detail(data, 5, SIDE_LEFT, float("inf")), "point 5 holds a value that is not a finite"),
        (lambda data: with_point(data, 6, 1e9, 0.0, 0.0), "point 6 lies farther away"),
        (lambda data: with_point(data, 7, 3000.0, 0.0, 3000.0), "but its lengths say"),
        (lambda data: with_points_on_one_spot(data, 300), "does not go on at point 301"),
        (lambda data: with_detail(with_detail(data, 8, SIDE_LEFT, 0.0), 8, SIDE_RIGHT, 0.0), "0.0 m wide at point 8"),
        (emptied_of_length, "has no length"),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(
    tmp_path: Path, damage: Callable[[bytes], bytes], complaint: str
) -> None:
    path = write_fast_lane(tmp_path, TRACK, damage(GOOD))
    with pytest.raises(TrackError) as refused:
        fast_lane_track(path, "ring")
    assert complaint in str(refused.value)
    assert str(path) in str(refused.value)
    assert "record-lap" in str(refused.value)


def test_a_missing_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match=r"cannot be read: No such file.*record-lap"):
        read_fast_lane(tmp_path / "ai" / "fast_lane.ai")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_no_damage_ends_in_anything_but_a_track_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    changed = bytearray(GOOD[: data.draw(st.integers(0, len(GOOD)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            first = data.draw(st.integers(0, len(changed) - 1))
            patch = data.draw(st.binary(min_size=1, max_size=8))
            changed[first : first + len(patch)] = patch
    try:
        track = fast_lane_track(write_fast_lane(tmp_path, TRACK, bytes(changed)), "ring")
    except TrackError:
        return
    assert np.isfinite(track.centre).all()

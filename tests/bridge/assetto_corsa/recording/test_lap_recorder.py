"""One driven lap becomes a track: picked out of a drive, closed, smoothed, and refused where it is no lap."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.assetto_corsa.reading.axes import plane_vector
from bridge.assetto_corsa.reading.layout import Graphics, Physics, Status
from bridge.assetto_corsa.reading.pages import Snapshot
from bridge.assetto_corsa.recording.lap_recorder import HALF_WIDTH, LapRecorder, LapSample, lap_sample, track_from_lap
from racing.car import FloatArray
from racing.evaluation import drive_laps, reference_actions
from racing.reference_driver import ReferenceDriver
from racing.task import TaskConfig
from racing.track import Track, TrackError, parse_track
from racing.track_file import read_columns
from tests.support.real_data import real_data

TRACK = Track.generate(7)
SPEED = 40.0


def driven(metres: float, rate: float = 50.0, start: float = 0.0, gap: float = 0.0) -> list[LapSample]:
    """A drive at SPEED from `start` metres behind the line of TRACK; the lap clock begins anew at the line."""
    times = np.arange(0.0, metres / SPEED, 1.0 / rate)
    s = start + SPEED * times
    places = TRACK.position_at(s, gap)
    return [
        LapSample(float(t), float(x), float(y), float(at % TRACK.length) / SPEED, False)
        for t, at, (x, y) in zip(times, s, places, strict=True)
    ]


def recorded(samples: Iterable[LapSample], recorder: LapRecorder | None = None) -> list[FloatArray]:
    recorder = recorder or LapRecorder()
    return [lap for sample in samples if (lap := recorder.add(sample)) is not None]


def changed(sample: LapSample, **values: float | bool) -> LapSample:
    fields = {name: getattr(sample, name) for name in LapSample.__slots__}
    return LapSample(**{**fields, **values})


def whole_lap(rate: float = 50.0, noise: float = 0.0, gap: float = 0.0, seed: int = 1) -> FloatArray:
    lap = recorded(driven(TRACK.length + 400.0, rate, start=-200.0, gap=gap))[0]
    return lap + np.random.default_rng(seed).normal(0.0, noise, lap.shape)


def test_a_lap_from_line_to_line_is_picked_out_of_a_drive_and_becomes_the_track(tmp_path: Path) -> None:
    recorder = LapRecorder()
    laps = recorded(driven(2.5 * TRACK.length, start=-300.0), recorder)
    assert len(laps) == 2
    assert recorder.recording
    assert recorder.given_up == ""
    track = track_from_lap(laps[0], "ring", 5.0, 3.5)
    assert track.length == pytest.approx(TRACK.length, rel=0.01)
    at = TRACK.project(track.centre)
    assert np.abs(at.gap).max() < 1.0
    assert np.median(np.abs(at.gap)) < 0.1
    assert abs((at.s[0] + 10.0) % TRACK.length - 10.0) < 4.0
    assert np.median(track.width_left) == 5.0
    assert np.median(track.width_right) == 3.5
    track.to_csv(tmp_path / "ring.csv")
    again = parse_track(str(tmp_path / "ring.csv"))
    np.testing.assert_array_equal(again.centre, track.centre)
    np.testing.assert_array_equal(again.width_right, track.width_right)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([20.0, 25.0, 60.0, 333.0]),
    noise=st.floats(0.0, 0.2),
    gap=st.floats(-3.0, 3.0),
    lost=st.lists(st.tuples(st.floats(0.0, 0.98), st.floats(2.0, 16.0)), max_size=6),
    seed=st.integers(0, 1000),
)
def test_noise_and_gaps_do_not_bend_the_road(
    rate: float, noise: float, gap: float, lost: list[tuple[float, float]], seed: int
) -> None:
    lap = whole_lap(rate, noise, gap, seed)
    s = TRACK.project(lap).s
    kept = np.ones(len(lap), np.bool_)
    for share, metres in lost:
        ahead = (s - share * TRACK.length) % TRACK.length
        kept[ahead < metres - SPEED / rate] = False
    kept[[0, -1]] = True
    if np.hypot(*np.diff(lap[kept], axis=0).T).max() > 22.0:
        return  # Gaps that touch make one that no bend could be told from.
    track = track_from_lap(lap[kept], "ring")
    at = TRACK.project(track.centre)
    assert np.abs(at.gap - gap).max() < 1.5
    assert np.median(np.abs(at.gap - gap)) < 0.2
    assert np.abs(track.curvature).max() < 0.2
    assert track.curvature.sum() * track.spacing == pytest.approx(TRACK.curvature.sum() * TRACK.spacing, abs=1e-6)


def test_a_lap_that_ends_beside_its_start_is_closed_without_a_kink() -> None:
    s = np.arange(0.5, TRACK.length + 1.5, 0.8)
    wandering = TRACK.position_at(s, -3.0 + 6.0 * s / TRACK.length)
    track = track_from_lap(wandering, "ring")
    near = np.r_[-10:10]
    at = TRACK.project(track.centre[near])
    assert np.abs(track.curvature[near] - at.curvature).max() < 0.005
    assert np.abs(at.gap).max() < 0.3


def test_a_car_that_stands_on_its_way_does_no_harm() -> None:
    lap = whole_lap()
    rng = np.random.default_rng(3)
    standing = lap[700] + rng.normal(0.0, 0.05, (2000, 2))
    track = track_from_lap(np.concatenate([lap[:700], standing, lap[700:]]), "ring")
    assert np.abs(TRACK.project(track.centre).gap).max() < 1.0


def test_the_inside_of_a_bend_is_never_wider_than_the_bend() -> None:
    track = track_from_lap(whole_lap(), "ring", 30.0, 30.0)
    bend = np.abs(track.curvature)
    inside = np.where(track.curvature > 0.0, track.width_left, track.width_right)
    assert (inside * bend <= 0.8 + 1e-9).all()


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda lap: lap[: len(lap) // 2], "does not close"),
        (lambda lap: lap[:-100], "does not close"),
        (lambda lap: np.delete(lap, np.s_[500:600], axis=0), "has a gap of"),
        (lambda lap: np.concatenate([lap[:400], lap[400:300:-1], lap[300:]]), "turns within"),
        (lambda lap: np.where(np.arange(len(lap))[:, None] == 7, np.nan, lap), "no finite numbers"),
        (lambda lap: lap[:1], "positions near each other"),
        (lambda lap: lap[:80], "m long"),
        (lambda lap: lap[:0], "positions near each other"),
    ],
)
def test_what_is_no_lap_is_refused_with_a_sentence(spoil: object, complaint: str) -> None:
    assert callable(spoil)
    with pytest.raises(TrackError, match=complaint) as refused:
        track_from_lap(spoil(whole_lap()), "ring")
    assert "Drive one lap from the line to the line" in str(refused.value)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.floats(-300.0, 300.0), st.floats(-300.0, 300.0)), max_size=40))
def test_whatever_was_driven_ends_in_a_track_or_a_sentence(rows: list[tuple[float, float]]) -> None:
    try:
        track = track_from_lap(np.array(rows).reshape(-1, 2), "ring")
    except TrackError:
        return
    assert np.isfinite(track.centre).all()


@pytest.mark.parametrize(("left", "right"), [(0.0, 4.0), (4.0, -1.0), (400.0, 4.0), (float("nan"), 4.0)])
def test_a_width_that_no_road_has_is_refused(left: float, right: float) -> None:
    with pytest.raises(TrackError, match="is not possible; give"):
        track_from_lap(whole_lap(), "ring", left, right)


def test_a_lap_through_the_pit_lane_is_given_up() -> None:
    samples = driven(2.0 * TRACK.length, start=-100.0)
    samples[800:820] = [changed(sample, in_pit_lane=True) for sample in samples[800:820]]
    recorder = LapRecorder()
    assert recorded(samples[:810], recorder) == []
    assert "in the pit lane" in recorder.given_up
    assert not recorder.recording
    # What follows the pits is no whole lap either: only the line begins one.
    assert recorded(samples[810:], recorder) == []
    assert recorder.recording
    assert recorder.given_up == ""


def test_a_car_that_is_put_elsewhere_or_lost_from_sight_loses_its_lap() -> None:
    samples = driven(1.5 * TRACK.length, start=-100.0)
    away = [changed(sample, x=sample.x + 30.0) for sample in samples[900:]]
    lost = samples[:900] + [changed(sample, time=sample.time + 3.0) for sample in samples[960:]]
    unseen = samples[:900] + [changed(sample, time=sample.time + 1.0) for sample in samples[920:]]
    for drive, why in (
        (samples[:900] + away, "put somewhere else"),
        (lost, "nothing was seen of the car over 4"),
        (unseen, "nothing was seen of the car over 1"),
    ):
        recorder = LapRecorder()
        assert recorded(drive[:960], recorder) == []
        assert why in recorder.given_up


def test_a_pause_loses_nothing_and_a_restart_on_the_grid_begins_nothing() -> None:
    samples = driven(TRACK.length + 400.0, start=-200.0)
    paused = samples[:900] + [changed(sample, time=sample.time + 60.0) for sample in samples[900:]]
    assert len(recorded(paused)) == 1
    recorder = LapRecorder()
    standing = [LapSample(0.02 * n, 5.0, 5.0, (0.02 * n) % 3.0, False) for n in range(1000)]
    assert recorded(standing, recorder) == []
    assert not recorder.recording


def test_a_lap_without_end_is_given_up() -> None:
    recorder = LapRecorder()
    slow = [LapSample(0.4 * n, 20.0 * n, 0.0, 0.4 * n - 2.0 if n >= 5 else 100.0, False) for n in range(4600)]
    assert recorded(slow, recorder) == []
    assert "longer than 30 minutes" in recorder.given_up


def test_only_a_live_game_is_sampled_and_in_the_ground_plane() -> None:
    graphics = Graphics()
    graphics.status = Status.LIVE
    graphics.carCoordinates[0], graphics.carCoordinates[1], graphics.carCoordinates[2] = 10.0, 3.0, -20.0
    graphics.iCurrentTime = 61_500
    live = lap_sample(Snapshot(Physics(), graphics, None, 4.0, False))
    assert live == LapSample(4.0, -20.0, 10.0, 61.5, False)
    graphics.isInPitLane = 1
    stopped = lap_sample(Snapshot(Physics(), graphics, None, 4.0, False))
    assert stopped is not None
    assert stopped.in_pit_lane
    graphics.status = Status.PAUSE
    assert lap_sample(Snapshot(Physics(), graphics, None, 4.0, False)) is None


def lap_of_monza() -> Track:
    rows = read_columns(real_data("telemetry/monza_25hz_two_laps.csv"), "recording", "")
    places = plane_vector(rows["world_position_y"], rows["world_position_x"])
    samples = [
        LapSample(0.04 * row, float(x), float(y), float(lap_time), False)
        for row, ((x, y), lap_time) in enumerate(zip(places, rows["currentTime"], strict=True))
    ]
    laps = recorded(samples)
    assert len(laps) == 1
    return track_from_lap(laps[0], "monza, driven")


def test_a_lap_from_the_real_game_runs_along_the_surveyed_circuit() -> None:
    track = lap_of_monza()
    surveyed = Track.from_csv(real_data("tracks/monza.csv"))
    assert track.length == pytest.approx(surveyed.length, rel=0.01)
    at = surveyed.project(track.centre)
    assert np.mean((at.gap < at.width_left) & (at.gap > -at.width_right)) > 0.98
    assert np.median(track.width_left) == HALF_WIDTH


@pytest.mark.slow
def test_the_reference_driver_laps_what_was_recorded_cleanly() -> None:
    track = lap_of_monza()
    result = drive_laps(reference_actions(ReferenceDriver(track)), track, 1, TaskConfig(control_hz=20.0))
    assert result.end == ""
    assert [lap.clean for lap in result.laps] == [True]

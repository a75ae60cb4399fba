"""A track knows where everything is, whether it came from a seed or from a file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from racing.closed_line import wrapped
from racing.track import Track, TrackError, parse_track
from tests.support.real_data import real_data

TRACK = Track.generate(7)


@pytest.mark.parametrize("seed", range(12))
def test_a_generated_track_is_smooth_and_stays_clear_of_itself(seed: int) -> None:
    track = Track.generate(seed)
    assert 990 <= track.length <= 5010
    assert track.spacing == pytest.approx(2.0, rel=0.01)
    assert 1 / np.abs(track.curvature).max() > 12.0
    assert np.abs(np.diff(track.curvature)).max() < 0.02
    assert abs(np.sum(track.curvature) * track.spacing) == pytest.approx(2 * np.pi, abs=1e-6)
    # Both edges, sampled: no two points of the road that are far apart along it come near each other.
    s = np.arange(0.0, track.length, 6.0)
    left, right = track.widths_at(s)
    for gap in (left, -right):
        edge = track.position_at(s, gap)
        apart = np.linalg.norm(edge[:, None] - edge[None], axis=2)
        along = np.abs(s[:, None] - s[None])
        along = np.minimum(along, track.length - along)
        assert apart[along > 100.0].min() > 8.0


def test_generated_tracks_have_hairpins_and_fast_bends() -> None:
    radii = 1 / np.maximum(np.abs(np.concatenate([Track.generate(seed).curvature for seed in range(12)])), 1e-6)
    for slowest, fastest in ((12, 20), (30, 60), (80, 200), (1000, np.inf)):
        assert ((radii > slowest) & (radii < fastest)).sum() > 50


def test_a_seed_gives_the_same_track_each_time_and_everywhere() -> None:
    again = Track.generate(7)
    np.testing.assert_array_equal(again.centre, TRACK.centre)
    np.testing.assert_array_equal(again.width_left, TRACK.width_left)
    assert not np.array_equal(Track.generate(8).centre[:100], TRACK.centre[:100])


@pytest.mark.parametrize("length", [1000.0, 1200.0, 3000.0])
def test_a_generated_track_has_the_length_asked_for(length: float) -> None:
    assert Track.generate(3, length).length == pytest.approx(length, rel=0.005)


@settings(deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), lateral=st.floats(-0.9, 0.9))
def test_a_point_beside_the_line_is_found_again(share: float, lateral: float) -> None:
    s = np.array([share * TRACK.length])
    left, right = TRACK.widths_at(s)
    gap = lateral * np.minimum(left, right)
    at = TRACK.project(TRACK.position_at(s, gap))
    assert abs(float(at.s[0] - s[0] + TRACK.length / 2) % TRACK.length - TRACK.length / 2) < 1e-2
    assert float(at.gap[0]) == pytest.approx(float(gap[0]), abs=1e-2)
    assert abs(float(wrapped(at.heading - TRACK.heading_at(s))[0])) < 1e-2


def test_projection_is_continuous_across_grid_points_also_inside_a_tight_bend() -> None:
    tightest = TRACK.s[np.abs(TRACK.curvature).argmax()]
    inside = np.sign(TRACK.curvature[np.abs(TRACK.curvature).argmax()]) * 5.0
    s = tightest + np.linspace(-10, 10, 2001)
    at = TRACK.project(TRACK.position_at(s, inside))
    assert np.abs(np.diff(at.gap)).max() < 0.02
    steps = (np.diff(at.s) + TRACK.length / 2) % TRACK.length - TRACK.length / 2
    assert steps.min() > 0.0
    assert steps.max() < 0.05


def test_a_hint_gives_the_same_answer_as_the_whole_search() -> None:
    rng = np.random.default_rng(1)
    s = rng.random(64) * TRACK.length
    position = TRACK.position_at(s, rng.uniform(-5, 5, 64))
    whole = TRACK.project(position)
    near = TRACK.project(position, (whole.index + rng.integers(-8, 8, 64)) % len(TRACK.centre))
    np.testing.assert_allclose(near.s, whole.s)
    np.testing.assert_allclose(near.gap, whole.gap)


def test_a_hint_that_is_far_off_does_not_mislead() -> None:
    position = TRACK.position_at(np.array([500.0]), 2.0)
    at = TRACK.project(position, np.array([900]))
    assert float(at.s[0]) == pytest.approx(500.0, abs=0.01)


def test_lookups_wrap_around_and_take_any_shape() -> None:
    s = np.array([[10.0, TRACK.length - 1.0], [0.0, 77.7]])
    np.testing.assert_allclose(TRACK.curvature_at(s + TRACK.length), TRACK.curvature_at(s), atol=1e-12)
    np.testing.assert_allclose(TRACK.position_at(s - TRACK.length), TRACK.position_at(s), atol=1e-6)
    assert TRACK.position_at(s, 1.0).shape == (2, 2, 2)
    assert TRACK.widths_at(s)[0].shape == (2, 2)


def test_a_written_track_reads_back_the_same(tmp_path: Path) -> None:
    TRACK.to_csv(tmp_path / "track.csv")
    again = Track.from_csv(tmp_path / "track.csv")
    np.testing.assert_array_equal(again.centre, TRACK.centre)
    np.testing.assert_array_equal(again.width_right, TRACK.width_right)


def test_a_coarse_file_becomes_a_smooth_track(tmp_path: Path) -> None:
    angle = np.arange(40) * 2 * np.pi / 40
    rows = [f"{200 * np.cos(a)},{200 * np.sin(a)},5,6" for a in angle]
    (tmp_path / "ring.csv").write_text("x,y,width_left,width_right\n" + "\n".join(rows) + "\n")
    track = Track.from_csv(tmp_path / "ring.csv")
    np.testing.assert_allclose(track.curvature, 1 / 200, rtol=0.15)
    np.testing.assert_allclose(track.width_left, 5.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "length", "turns_left"),
    [("monza", 5793, False), ("ks_red_bull_ring-layout_gp", 4318, False), ("ks_laguna_seca", 3602, True)],
)
def test_real_circuits_have_their_length_direction_and_width(name: str, length: float, turns_left: bool) -> None:
    track = Track.from_csv(real_data(f"tracks/{name}.csv"))
    assert track.length == pytest.approx(length, rel=0.01)
    assert (track.curvature.sum() > 0) == turns_left
    assert (track.width_left + track.width_right).min() > 7.0
    assert (track.width_left + track.width_right).max() < 20.0
    assert 1 / np.abs(track.curvature).max() > 8.0


HEADER = "x,y,width_left,width_right\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no rows"),
        ("a,b\n1,2\n", "no columns that describe a track"),
        (HEADER + "1,2,3\n", "row 2: 3 values"),
        (HEADER + "1,2,3,wide\n", "row 2 holds something that is not a number"),
        (HEADER + "1,2,3,nan\n", "row 2 holds a value that is not finite"),
        (HEADER + "0,0,5,5\n100,0,5,5\n", "m long|centreline points|close"),
        (HEADER + "".join(f"{2 * i},0,5,5\n" for i in range(200)), "does not close"),
        (HEADER + "".join(f"{90 * np.cos(a)},{90 * np.sin(a)},0,5\n" for a in np.arange(0, 6.28, 0.022)), "no width"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(TrackError, match=complaint):
        Track.from_csv(tmp_path / "bad.csv")


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="cannot be read"):
        Track.from_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(TrackError, match="not a CSV"):
        Track.from_csv(tmp_path / "binary.csv")


def test_tracks_are_named_by_seed_length_or_path(tmp_path: Path) -> None:
    assert parse_track("seed:7").length == TRACK.length
    assert parse_track("seed:7:1200").length == pytest.approx(1200, rel=0.005)
    TRACK.to_csv(tmp_path / "t.csv")
    assert parse_track(str(tmp_path / "t.csv")).name == "t"


@pytest.mark.parametrize("spec", ["seed:", "seed:x", "seed:1:2:3", "seed:-1", "seed:1:100", "seed:1:long"])
def test_a_spec_that_names_no_track_is_refused(spec: str) -> None:
    with pytest.raises(TrackError):
        parse_track(spec)

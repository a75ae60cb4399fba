"""A track's text: exact, the same everywhere, and refused in a sentence where it is none."""

import json

import numpy as np
import pytest

from racing.track import Track, TrackError
from racing.track_text import MAX_BYTES, track_hash, track_of, track_text


def test_a_track_comes_back_exact_to_the_bit() -> None:
    track = Track.generate(7)
    again = track_of(track_text(track))
    assert again.name == track.name
    for name in ("centre", "width_left", "width_right", "heading", "curvature", "s"):
        assert np.array_equal(getattr(again, name), getattr(track, name)), name
    assert track_text(again) == track_text(track)


def test_another_track_has_another_hash() -> None:
    seven, eight = track_text(Track.generate(7)), track_text(Track.generate(8))
    assert track_hash(seven) != track_hash(eight)
    assert track_hash(seven) == track_hash(track_text(Track.generate(7)))


def test_the_longest_track_has_room() -> None:
    around = np.linspace(0.0, 2.0 * np.pi, 24_990, endpoint=False)
    centre = np.column_stack([np.cos(around), np.sin(around)]) * 49_980.0 / (2.0 * np.pi) + 1 / 3
    widths = np.full(len(centre), 5.0 + 1 / 3)
    track = Track(centre, widths, widths, "long")
    assert np.array_equal(track_of(track_text(track)).centre, track.centre)


def changed(**fields: object) -> bytes:
    return json.dumps(json.loads(track_text(Track.generate(7))) | fields).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b" " * (5 * 2**20),
        changed(centre=[]),
        changed(centre=[[0.0, 1.0]]),
        changed(centre="points"),
        changed(width_left=[1.0]),
        changed(width_left=[1e999] * 700),
        changed(centre=[[1e308, -1e308]] * 700, width_left=[1.0] * 700, width_right=[1.0] * 700),
    ],
)
def test_what_is_no_track_is_refused_in_a_sentence(text: bytes) -> None:
    with pytest.raises(TrackError):
        track_of(text)


def test_a_text_that_would_only_take_long_to_read_is_refused_unread() -> None:
    text = b'{"centre":[' + b"[1,1]," * 600_000 + b'[1,1]],"name":"x","width_left":[1],"width_right":[1]}'
    assert len(text) < MAX_BYTES
    with pytest.raises(TrackError, match="more than 240000 values"):
        track_of(text)

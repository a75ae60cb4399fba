"""A track as the page draws it, and where on it a car is, whose place is told along the centreline."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from racing.track import Track
from racing.track_text import track_hash, track_of

POINTS: Final = 600
"""Of each line, at most."""


class TrackMap:
    """The track with this text. Raises TrackError for what is none."""

    def __init__(self, text: bytes) -> None:
        self.text, self.sha256 = text, track_hash(text)
        self._track = track_of(text)

    def outline(self) -> dict[str, Any]:
        """Name, length (m), and centre, left and right edge as points (m)."""
        track = self._track
        rows = np.unique(np.linspace(0, len(track.s) - 1, POINTS).astype(np.int64))
        places = track.s[rows]
        lines = {"centre": 0.0, "left": track.width_left[rows], "right": -track.width_right[rows]}
        drawn = {name: _rounded(track, places, gap) for name, gap in lines.items()}
        return {"name": track.name, "length_m": round(track.length, 2)} | drawn

    def points(self, places: Sequence[float], gaps: Sequence[float]) -> list[list[float]]:
        """Where these are, [x, y] in m: places along the centreline and gaps to the left of it, in m."""
        return _rounded(self._track, np.array(places, np.float64), np.array(gaps, np.float64)) if places else []


def _rounded(track: Track, places: Any, gaps: Any) -> list[list[float]]:
    found: list[list[float]] = np.round(track.position_at(places, gaps), 2).tolist()
    return found

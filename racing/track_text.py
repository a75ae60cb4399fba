"""A track as text and back, exact to the bit: how a PC tells others what it drives on, without its file."""

import hashlib
import json
from typing import Any

import numpy as np

from racing.track import Track, TrackError

MAX_BYTES = 4 * 2**20
"""Longest text; the longest track that `Track` makes has about half of it."""
MAX_VALUES = 240_000
"""Most values in a text, four for each point; the longest track that `Track` makes has 50,000 points."""


def track_text(track: Track) -> bytes:
    """The track's name, centreline and widths as JSON, the same bytes for the same track on every machine."""
    arrays = {name: getattr(track, name).tolist() for name in ("centre", "width_left", "width_right")}
    return json.dumps({"name": track.name, **arrays}, sort_keys=True, separators=(",", ":")).encode()


def track_hash(text: bytes) -> str:
    """What names a track in Hello and run.json: the SHA-256 (hex) of its text."""
    return hashlib.sha256(text).hexdigest()


def track_of(text: bytes) -> Track:
    """The track in a text. Raises TrackError for what is none."""
    try:
        if len(text) > MAX_BYTES:
            raise TrackError(f"The text of a track has {len(text)} bytes; at most {MAX_BYTES} are read.")
        if text.count(b",") > MAX_VALUES:
            # Told before it is read: Python's own reader lets no other thread work for as long as it takes.
            raise TrackError(f"The text of a track holds more than {MAX_VALUES} values.")
        said: dict[str, Any] = json.loads(text)
        centre, left, right = (np.array(said[name], np.float64) for name in ("centre", "width_left", "width_right"))
        return Track(centre, left, right, str(said["name"])[:200])
    except TrackError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise TrackError(f"The text of a track cannot be read ({error}).") from None

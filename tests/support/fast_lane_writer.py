"""Writes `ai/fast_lane.ai` files as the game has them, and damaged ones, for whoever reads such files.

    fast_lane(Track.generate(7))                  # the bytes of a file of version 7
    write_fast_lane(folder, track)                # folder/ai/fast_lane.ai
    write_fast_lane(folder, track, truncated(fast_lane(track), 5000))

Promises the layout read off two real files (version 7) and their conventions: the second block's forward vector and
step belong to the way from the point before, `direction` is 1 in left-hand bends and -1 in right-hand ones, a block
that nobody needs follows. It shares no code with the reader. The line lies at `gap` metres to the left of the centre.
"""

import struct
from pathlib import Path

import numpy as np

from racing.car import FloatArray
from racing.track import Track

VERSION = 7
HEADER = 16
POINT = 20
DETAIL = 72
SPACING = 1.5
"""Metres between points in the real files, about."""
_GRID = struct.pack("<i5f", 1, 458.4, 0.0, 1237.7, -561.5, 0.0) + bytes(64)

# Floats of a detail row, by their number.
SPEED, GAS, BRAKE, RADIUS, SIDE_LEFT, SIDE_RIGHT, CAMBER, DIRECTION = 0, 1, 2, 4, 5, 6, 7, 8
NORMAL_Y, STEP, FORWARD_X, FORWARD_Z = 10, 12, 13, 15


def fast_lane(track: Track, gap: float = 0.0, height: float = 12.5, spacing: float = SPACING) -> bytes:
    """The whole file of a line at `gap` metres to the left of the track's centre, at this height in metres."""
    count = round(track.length / spacing)
    s = np.arange(count, dtype=np.float64) * (track.length / count)
    left, right = track.widths_at(s)
    ground = track.position_at(s, gap)
    # The game's x is the ground plane's y, its z the ground plane's x.
    x, z = ground[:, 1], ground[:, 0]
    came = np.hypot(x - np.roll(x, 1), z - np.roll(z, 1))
    points = np.zeros(count, np.dtype([("place", "<f4", 3), ("length", "<f4"), ("id", "<i4")]))
    points["place"] = np.stack([x, np.full(count, height), z], axis=1)
    points["length"] = np.cumsum(came) - came[0]
    points["id"] = np.arange(count)
    details = _details(track, s, np.stack([x, z], axis=1))
    details[:, SIDE_LEFT] = left - gap
    details[:, SIDE_RIGHT] = right + gap
    details[:, STEP] = came
    header = struct.pack("<4i", VERSION, count, 0, 0)
    return header + points.tobytes() + struct.pack("<i", count) + details.tobytes() + _GRID


def _details(track: Track, s: FloatArray, places: FloatArray) -> FloatArray:
    """The second block's rows (count, 18) float32, but for the sides and the steps."""
    curvature = track.curvature_at(s)
    way = places - np.roll(places, 1, axis=0)
    forward = way / np.hypot(way[:, 0], way[:, 1])[:, None]
    details = np.zeros((len(s), 18), "<f4")
    details[:, SPEED] = np.minimum(70.0, np.sqrt(14.0 / np.maximum(np.abs(curvature), 1e-4)))
    details[:, GAS] = 0.5
    details[:, RADIUS] = 1.0 / np.maximum(np.abs(curvature), 1e-5)
    details[:, CAMBER] = 0.01
    details[:, DIRECTION] = np.where(curvature >= 0.0, 1.0, -1.0)
    details[:, NORMAL_Y] = 1.0
    details[:, FORWARD_X] = forward[:, 0]
    details[:, FORWARD_Z] = forward[:, 1]
    return details


def write_fast_lane(folder: Path, track: Track, data: bytes | None = None) -> Path:
    """Write ai/fast_lane.ai under a track's (or its layout's) folder, these bytes or the track's own; its path."""
    path = folder / "ai" / "fast_lane.ai"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fast_lane(track) if data is None else data)
    return path


def points_in(data: bytes) -> int:
    """How many points the header declares."""
    return int(struct.unpack_from("<i", data, 4)[0])


def truncated(data: bytes, size: int) -> bytes:
    """The first `size` bytes, as a copy has them that was broken off."""
    return data[:size]


def half_way(data: bytes) -> bytes:
    """The file of a road that ends on the other side: the first half of the line, whole in itself."""
    count, kept = points_in(data), points_in(data) // 2
    details = HEADER + POINT * count + 4
    rows = struct.pack("<i", kept) + data[details : details + DETAIL * kept]
    return with_count(data[: HEADER + POINT * kept], kept) + rows + data[details + DETAIL * count :]


def with_version(data: bytes, version: int) -> bytes:
    """The file saying that it is of another version."""
    return _with(data, 0, "<i", version)


def with_count(data: bytes, count: int) -> bytes:
    """The file whose header declares another number of points than follow."""
    return _with(data, 4, "<i", count)


def with_detail_count(data: bytes, count: int) -> bytes:
    """The file whose second block declares another number of rows."""
    return _with(data, HEADER + POINT * points_in(data), "<i", count)


def with_point(data: bytes, row: int, x: float, y: float, z: float) -> bytes:
    """The file with one point moved: to NaN, or far away."""
    return _with(data, HEADER + POINT * row, "<3f", x, y, z)


def with_detail(data: bytes, row: int, column: int, value: float) -> bytes:
    """The file with another value in one of the 18 columns of one detail row, such as SIDE_LEFT."""
    first = HEADER + POINT * points_in(data) + 4
    return _with(data, first + DETAIL * row + 4 * column, "<f", value)


def _with(data: bytes, offset: int, form: str, *values: float) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, offset, *values)
    return bytes(changed)

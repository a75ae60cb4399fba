"""Frames of telemetry for tests, and what a receiver has written of them."""

import json
from pathlib import Path
from typing import Any

from wire.messages import Hello, Role, Telemetry


def frame(index: int, **changes: Any) -> Telemetry:
    """The frame of this index: its `time` is the index, in s."""
    said: dict[str, Any] = {
        "speed": 40.0,
        "gear": 4,
        "throttle": 0.5,
        "brake": 0.0,
        "steer": -0.25,
        "laps": 1,
        "lap_time": 12.5,
        "time": float(index),
    }
    return Telemetry(**said | changes)


def stream_hello(stream: str = "a" * 32, bridge: str = "pc-a", **changes: Any) -> Hello:
    """The short Hello of somebody who streams."""
    return Hello(bridge, stream, Role.STREAM, **changes)


def written_rows(folder: Path) -> list[dict[str, Any]]:
    """What the JSON lines in the folder say, the oldest first; what a kill has cut in two is left out."""
    rows = []
    for file in sorted(folder.glob("telemetry-*.jsonl")):
        rows += [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
    return rows

"""Reads the telemetry that others stream, as it comes: `python examples/stranger_watch.py work/telemetry`.

The receiver writes it there as JSON lines, with `--write-telemetry jsonl` or `write_telemetry` in run.json. It starts
with the newest file; a line is read once it is whole.
"""

import json
import sys
import time
from pathlib import Path

folder, file, lines, rest = Path(sys.argv[1]), None, None, ""
while True:
    text = lines.read() if lines else ""
    if not text:
        later = [one for one in sorted(folder.glob("telemetry-*.jsonl")) if file is None or one > file]
        if later:
            file = later[0] if file else later[-1]
            lines, rest = file.open(encoding="utf-8"), ""
        time.sleep(0.1)
    *whole, rest = (rest + text).split("\n")
    for line in whole:
        frame = json.loads(line)
        lap = f"lap {frame['laps'] + 1}  {'valid' if frame.get('valid', True) else 'invalid'}"
        print(f"{frame['bridge']}: {3.6 * frame['speed']:.1f} km/h  {lap}", flush=True)

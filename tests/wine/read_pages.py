"""Run in Windows: `python -m tests.wine.read_pages SECONDS` reads the game's pages as the bridge does.

Prints a JSON object of what it saw. Without a game it prints the bridge's sentence and exits with 3.
"""

import json
import sys
import time
from itertools import pairwise
from statistics import median

from bridge.assetto_corsa.reading.layout import text
from bridge.assetto_corsa.reading.memory import GameNotRunning
from bridge.assetto_corsa.reading.pages import GamePages
from bridge.assetto_corsa.reading.state import StateReader


def watch(seconds: float) -> dict[str, object]:
    """What the pages show for so long; packet numbers must rise."""
    packets: list[int] = []
    costs: list[float] = []
    states = StateReader()
    with GamePages() as pages:
        first = snapshot = pages.read()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            snapshot = pages.read()
            costs.append(time.perf_counter() - began)
            if not snapshot.duplicate:
                packets.append(snapshot.physics.packetId)
            time.sleep(0.001)
        state = states.state(snapshot)
        return {
            "track": text(pages.static().track),
            "status": int(snapshot.status),
            "packets": len(packets),
            "rising": all(one < other for one, other in pairwise(packets)),
            "moved": snapshot.physics.packetId - first.physics.packetId,
            "position": state.position[0].tolist(),
            "median_cost": median(costs),
        }


def main() -> int:
    """Watch; returns the exit code."""
    try:
        print(json.dumps(watch(float(sys.argv[1]))))
    except GameNotRunning as absent:
        print(absent)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())

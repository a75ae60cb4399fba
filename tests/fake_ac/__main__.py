"""Runs the fake game in real time: `python -m tests.fake_ac --shm DIR --root DIR --track seed:7`.

Prints READY when its pages are there. Takes one JSON command a line on standard input and answers each with one line;
the end of standard input ends the game. It never spins: it sleeps until the next step, and after a pause that
it could not help it goes on from there, as the game does, without making up for more than a few steps.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

from racing.track import parse_track
from tests.fake_ac.car import PHYSICS_HZ
from tests.fake_ac.commands import Commands
from tests.fake_ac.game import Game
from tests.fake_ac.inputs import custom_ai_allowed
from tests.fake_ac.install import install

_STEP = 1.0 / PHYSICS_HZ
_MOST_TO_CATCH_UP = 0.05


def main() -> None:
    """Run until standard input ends or the command quit comes."""
    options = _options()
    track = parse_track(options.track)
    options.shm.mkdir(parents=True, exist_ok=True)
    if options.root is not None:
        install(options.root, track, options.name, options.layout, not options.no_custom_ai)
    allowed = not options.no_custom_ai and (
        options.root is None or custom_ai_allowed(options.root, options.name, options.layout)
    )
    game = Game(options.shm, track, options.name, options.layout, allowed)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    print("READY", flush=True)
    try:
        _run(game, Commands(game), lines)
    finally:
        game.close()


def _run(game: Game, commands: Commands, lines: "SimpleQueue[str]") -> None:
    due = time.perf_counter()
    while True:
        try:
            while True:
                line = lines.get_nowait()
                if not line:
                    return
                print(json.dumps(commands.do(json.loads(line))), flush=True)
        except Empty:
            pass
        due += _STEP
        wait = due - time.perf_counter()
        if wait > 0.0:
            time.sleep(wait)
        elif wait < -_MOST_TO_CATCH_UP:
            due -= wait
        if commands.stalled():
            continue
        game.tick(_STEP)


def _read(lines: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_ac", description="A stand-in for Assetto Corsa.")
    parser.add_argument("--shm", type=Path, required=True, help="folder of the shared memory")
    parser.add_argument("--root", type=Path, help="folder to write a made-up install of the game into")
    parser.add_argument("--track", default="seed:7", help="seed:NUMBER or a CSV file")
    parser.add_argument("--name", default="fake_ring", help="the track's name in the game")
    parser.add_argument("--layout", default="", help="the name of its layout")
    parser.add_argument("--no-custom-ai", action="store_true", help="CSP's settings forbid Custom AI")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""`python -m tests.conformance bridge | receiver`: one line for each check; 0 when all hold."""

import argparse
import sys

from tests.conformance import of_bridges, of_receivers
from tests.conformance.checking import run
from tests.conformance.counter import NAME
from wire.pairing import format_pairing, parse_pairing


def main() -> int:
    """How many checks failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    bridge = kinds.add_parser("bridge", help="listen for a bridge that serves the counter, and try it")
    bridge.add_argument("--port", type=int, default=0, help="on this port of loopback; any, left out")
    bridge.add_argument("--env", default=NAME, help=f"the counter's name there; {NAME}, left out")
    receiver = kinds.add_parser("receiver", help="dial a receiver whose trainer steps the counter, and try both")
    receiver.add_argument("--uri", required=True, help="its pairing string")
    options = parser.parse_args()
    if options.kind == "receiver":
        with of_receivers.receiver_of(parse_pairing(options.uri)) as tried_receiver:
            return run(of_receivers.CHECKS, tried_receiver)
    with of_bridges.bridge_at(options.port) as tried:
        tried.name = options.env
        print(f"Let your bridge dial {format_pairing(tried.pairing)} and offer {options.env}.", flush=True)
        return run(of_bridges.CHECKS, tried)


if __name__ == "__main__":
    sys.exit(min(main(), 1))

"""What the receiver says of itself: bridges connected and steps stored, asked on loopback.

A receiver that is not there, or not well, is no error: there is just no answer.
"""

from pathlib import Path

import msgspec

from train_cloud.receiver.tls import pin_of
from train_cloud.receiver_client import Unreachable, metrics
from train_cloud.run_folder.states import BRIDGES, STORED_STEPS
from wire.pairing import Pairing, PinMismatch


class Activity(msgspec.Struct, frozen=True):
    """Bridges connected now, and environment steps stored over the whole life of the run."""

    bridges: int
    stored_steps: int


def ask_receiver(port: int, tls_pem: Path, token_file: Path) -> Activity | None:
    """The receiver's figures, None when it gives none now."""
    try:
        pin = pin_of(tls_pem.read_bytes())
        found = metrics(Pairing("127.0.0.1", port, token_file.read_text(encoding="ascii").strip(), pin))
        return Activity(int(found[BRIDGES]), int(found[STORED_STEPS]))
    except (OSError, Unreachable, PinMismatch, ValueError, KeyError):
        return None

"""Bridges as processes against a receiver's process, and what of theirs is stored there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experience.codec import Batch, Layout, decode_batch
from tests.support.receivers import ReceiverProcess
from train_cloud.store import Store

ROOT = Path(__file__).parents[2]


@contextmanager
def bridge_process(
    receiver: ReceiverProcess, folder: Path, command: str, *arguments: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`ac-bridge COMMAND`, its spool and its log (bridge.log) in `folder`; it does not outlive the block."""
    receiver.pairing()
    environment = os.environ | {"AC_BRIDGE_URI": (receiver.folder / "pairing.txt").read_text().strip()} | variables
    line = [sys.executable, "-m", "bridge", command, "--spool", str(folder / "spool"), *arguments]
    with (folder / "bridge.log").open("ab") as log:
        bridge = subprocess.Popen(line, cwd=ROOT, env=environment, stderr=log)
    try:
        yield bridge
    finally:
        bridge.kill()
        bridge.wait()


def stored_batches(receiver: ReceiverProcess, layout: Layout) -> list[Batch]:
    """All that the receiver has stored, in order."""
    store = Store(receiver.store_file)
    try:
        return [decode_batch(row.blob, layout) for row in store.read_batches(0, 10**6)]
    finally:
        store.close()

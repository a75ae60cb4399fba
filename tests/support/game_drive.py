"""A bridge that drives the fake game as a child process, and what it has brought to a receiver."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experience import environment
from experience.codec import Batch, decode_batch
from experience.environment import racing
from racing.task import TaskConfig
from tests.support.fake_game import FakeGame
from tests.support.policies import policy_file
from tests.support.receivers import ThreadedReceiver
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from wire.pairing import format_pairing

ROOT = Path(__file__).parents[2]
CONFIG = run_config(run_id="game-test", max_lead_steps=10**9)
SIGNATURE = environment.racing(TaskConfig()).signature


class GameBridge:
    """`python -m bridge COMMAND` beside a fake game; its log is a file."""

    def __init__(self, game: FakeGame, folder: Path, command: str, *options: str, uri: str = "") -> None:
        self.log, self.spool = folder / "bridge.log", folder / "spool"
        environment = os.environ | game.environment
        environment |= {"AC_ROOT": str(game.root), "AC_BRIDGE_CONFIG_DIR": str(folder / "config"), "AC_BRIDGE_URI": uri}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", command, *options],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )

    @property
    def text(self) -> str:
        """Its log."""
        return self.log.read_text()

    def says(self, what: str, seconds: float = 60.0) -> None:
        """Wait for these words in its log."""
        wait_until(lambda: what in self.text, f"the bridge to say: {what}", seconds)


@contextmanager
def driving(game: FakeGame, receiver: ThreadedReceiver, folder: Path, *options: str) -> Iterator[GameBridge]:
    """`ac-bridge drive` that does not outlive the block."""
    uri = format_pairing(receiver.pairing)
    child = GameBridge(game, folder, "drive", "--spool", str(folder / "spool"), "--seed", "3", *options, uri=uri)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.wait()


def publish(receiver: ThreadedReceiver, version: int) -> None:
    """Do what the trainer does: put a policy into the store."""
    blob = policy_file(SIGNATURE, version)
    receiver.store.put_weights(version, blob, hashlib.sha256(blob).hexdigest())


def stored(receiver: ThreadedReceiver) -> list[Batch]:
    """What has arrived."""
    return [decode_batch(row.blob, racing().spaces.layout) for row in receiver.store.read_batches(0, 10**6)]


def steps_of(receiver: ThreadedReceiver) -> int:
    """How many steps have arrived."""
    return int(receiver.store.total_steps())

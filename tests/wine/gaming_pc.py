"""A run whose gaming PC is Windows: the fake game, a receiver with a first policy, and a link that can be cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from experience.codec import Batch, decode_batch
from experience.environment import racing
from tests.support.fake_game import FakeGame
from tests.support.fault_proxy import FaultProxy
from tests.support.moto_s3 import MotoS3, s3
from tests.support.policies import as_update, following_policy
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.runs import run_config
from tests.support.windows import Windows, WindowsProcess, windows_path
from train_cloud.environment import task_config
from train_cloud.store import Store
from wire.pairing import format_pairing

__all__ = ["s3"]

HZ = 60


@dataclass
class Run:
    """A game, a receiver with a first policy, the link to it, and a user's folder with a space in its name."""

    game: FakeGame
    receiver: ReceiverProcess
    proxy: FaultProxy
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """How a bridge finds the receiver and the game, and where Windows keeps a user's settings."""
        pairing = replace(self.receiver.pairing(), port=self.proxy.port)
        return {
            "AC_BRIDGE_URI": format_pairing(pairing),
            "AC_BRIDGE_CONFIG_DIR": windows_path(self.home),
            "AC_ROOT": windows_path(self.game.root),
        }

    def batches(self) -> list[Batch]:
        """What the receiver has stored, in the order in which it came."""
        store = Store(self.receiver.store_file)
        try:
            return [decode_batch(row.blob, racing().spaces.layout) for row in store.read_batches(0, 10**6)]
        finally:
            store.close()

    def steps(self) -> int:
        """How many steps it has stored."""
        return sum(batch.steps for batch in self.batches())

    def check_whole(self) -> None:
        """AssertionError where a step of the car is missing, doubled or out of order."""
        firsts, lengths = (
            np.concatenate([getattr(batch, name) for batch in self.batches()])
            for name in ("run_first_steps", "run_lengths")
        )
        assert firsts.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()]


@pytest.fixture
def run(game: FakeGame, s3: MotoS3, tmp_path: Path) -> Iterator[Run]:
    config = run_config(
        bucket={"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url},
        listen_host="127.0.0.1",
        listen_port=0,
        task={"control_hz": float(HZ)},
        segment_seconds=0.5,
        max_lead_steps=10**9,
    )
    home = tmp_path / "Driver One" / "Application Data"
    home.mkdir(parents=True)
    with receiver_process(config, tmp_path / "instance") as receiver:
        pairing = receiver.pairing(30.0)
        store = Store(receiver.store_file)
        weights = as_update(following_policy(racing(task_config(config)).signature, 1), 1)
        store.put_weights(weights.version, weights.blob, weights.sha256)
        store.close()
        with FaultProxy((pairing.host, pairing.port)) as proxy:
            yield Run(game, receiver, proxy, home)


@contextmanager
def bridge(windows: Windows, run: Run, *arguments: str) -> Iterator[WindowsProcess]:
    """`python ARGUMENTS` with the run's environment, started in the user's folder."""
    with windows.start(*arguments, folder=run.home, **run.environment) as process:
        yield process

"""`ac-bridge demonstrate` against the real receiver process and a real S3 server: whole, clean laps of no policy."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from experience.batches import DEMONSTRATION
from experience.codec import Batch, decode_batch
from experience.environment import racing
from racing.track import Track
from racing.track_file import TrackError
from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.real_data import real_data
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.recordings import along, straight, write
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.bridge_table import standings
from train_cloud.run_config import RunConfig
from train_cloud.store import Store

__all__ = ["s3"]

ROOT = Path(__file__).parents[2]
TRACK = "seed:7:1200"
_ = TrackError


def config_of(s3: MotoS3, **task: float) -> RunConfig:
    bucket = {"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url}
    return run_config(bucket=bucket, listen_host="127.0.0.1", task=task, segment_seconds=0.5)


@contextmanager
def demonstrating(
    receiver: ReceiverProcess, folder: Path, *arguments: str, command: str = "demonstrate"
) -> Iterator[subprocess.Popen[bytes]]:
    """A bridge process that does not outlive the block."""
    receiver.pairing()
    environment = os.environ | {"AC_BRIDGE_URI": (receiver.folder / "pairing.txt").read_text().strip()}
    line = [sys.executable, "-m", "bridge", command, "--spool", str(folder / "spool"), *arguments]
    with (folder / "bridge.log").open("ab") as log:
        bridge = subprocess.Popen(line, cwd=ROOT, env=environment, stderr=log)
    try:
        yield bridge
    finally:
        bridge.kill()
        bridge.wait()


def stored(receiver: ReceiverProcess) -> list[Batch]:
    store = Store(receiver.store_file)
    try:
        return [decode_batch(row.blob, racing().spaces.layout) for row in store.read_batches(0, 10**6)]
    finally:
        store.close()


def test_the_reference_driver_shows_two_clean_laps_and_ends_when_they_are_stored(s3: MotoS3, tmp_path: Path) -> None:
    with receiver_process(config_of(s3), tmp_path / "instance") as receiver:
        with demonstrating(receiver, tmp_path, "--car", "simulated", "--driver", "reference", "--track", TRACK) as bridge:
            assert bridge.wait(120) == ExitCode.OK, (tmp_path / "bridge.log").read_text()
        batches = stored(receiver)
        store = Store(receiver.store_file)
        (standing,) = standings(store)
        store.close()
    laps = [lap for batch in batches for lap in batch.laps]
    assert [lap.clean for lap in laps] == [True, True]
    assert all((batch.policy_versions == DEMONSTRATION).all() for batch in batches)
    assert standing.policy_version == 0
    # They join: one run from the start to the line of the last lap, and there it ends, as what was not watched further.
    ends = np.concatenate([batch.truncated | batch.terminated for batch in batches])
    assert ends.sum() == 1
    assert batches[-1].truncated[-1]
    (episode,) = (end for batch in batches for end in batch.episodes)
    assert (episode.reason, episode.steps) == ("demonstration", sum(batch.steps for batch in batches))
    assert "2 laps were taken, the best in 0:" in (tmp_path / "bridge.log").read_text()

"""What a peer at its worst costs the others: real processes and sockets, TLS, the real disk."""

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from experience.environment import racing
from scripts.bench.load import Load, Measured
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import CONFIG, receiver_process
from train_cloud.environment import task_config
from wire.pairing import format_pairing

__all__ = ["s3"]

BRIDGES = 10
SECONDS = 4.0
REPEATS = 3
QUIET_P99 = 0.004
"""Of ten bridges alone on a quiet machine (docs/performance.md), s."""
MOST_TIMES = 25
"""What makes 100 ms of it, and as many times what it is on a machine that is not quiet."""


@contextlib.contextmanager
def hostile_peer(load: Load, folder: Path) -> Iterator[None]:
    """A peer at its worst, for as long as the block lasts."""
    description = folder / "load.json"
    description.write_bytes(msgspec.json.encode(load))
    with subprocess.Popen([sys.executable, "-m", "scripts.bench.hostile", str(description)]) as process:
        try:
            yield
            assert process.poll() is None, "the hostile peer has ended"
        finally:
            process.kill()


def p99(load: Load) -> float:
    """Of honest bridges' times from a batch to its acknowledgement, s; every batch was acknowledged."""
    command = [sys.executable, "-m", "scripts.bench.load"]
    answer = subprocess.run(command, input=msgspec.json.encode(load), stdout=subprocess.PIPE, timeout=300, check=True)
    found = msgspec.json.decode(answer.stdout, type=Measured)
    assert found.failures == 0
    assert found.acknowledged_steps == found.offered_steps
    return found.p99


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_peer_at_its_worst_holds_up_nobody(tmp_path: Path, s3: MotoS3) -> None:
    config = msgspec.structs.replace(
        CONFIG, run_id="fairness", listen_host="127.0.0.1", listen_port=0, max_bridges=64, bucket=s3.bucket
    )
    with receiver_process(config, tmp_path) as receiver:
        signature = racing(task_config(config)).signature
        load = Load(format_pairing(receiver.pairing()), receiver.process.pid, signature, BRIDGES, SECONDS)
        alone, beside = [], []
        for _ in range(REPEATS):
            alone.append(p99(load))
            with hostile_peer(load, tmp_path):
                beside.append(p99(load))
    print(alone, beside)
    assert statistics.median(beside) <= MOST_TIMES * max(QUIET_P99, statistics.median(alone))

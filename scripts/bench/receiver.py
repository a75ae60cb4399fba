"""`python -m scripts.bench.receiver`: how many bridges one receiver on one core serves, as a Markdown table.

A real receiver process (TLS, SQLite with synchronous=FULL, segments to an S3 server) is pinned to one core; a load
process on the other plays 1, 10, 100 and more bridges at 60 steps/s each, in batches of ten, until something gives way.
Every row has a fresh receiver and store, and takes about ten seconds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import boto3
import msgspec

from experience.environment import racing
from scripts.bench.load import STEPS_PER_SECOND, Load, Measured
from scripts.bench.setting import setting
from train_cloud.environment import task_config
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.run_folder.files import PAIRING, RUN_CONFIG, STORE, TOKEN_VARIABLE
from train_cloud.store import Store
from wire.pairing import new_token, parse_pairing

BRIDGES = (1, 10, 100, 200, 400, 600, 800)
START_SECONDS = 30.0
BROKEN_P99 = 1.0
FULL_CORE = 0.9
BUCKET = "bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    bridges: int
    measured: Measured
    stored_steps: int

    @property
    def lost(self) -> int:
        """Steps that were sent and are not both stored and acknowledged."""
        return self.measured.offered_steps - min(self.stored_steps, self.measured.acknowledged_steps)

    @property
    def verdict(self) -> str:
        """Empty while all is well; else what gave way. A load generator with a full core says nothing of receivers."""
        found = self.measured
        if self.lost or found.failures:
            return "gives way"
        kept_up = found.offered_steps / found.seconds >= 0.95 * STEPS_PER_SECOND * self.bridges
        if kept_up and found.p99 <= BROKEN_P99:
            return ""
        load_is_full = found.cpu >= FULL_CORE and found.cpu > (found.receiver_cpu or 0.0)
        return "the load generator is the limit" if load_is_full else "gives way"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bridges", type=int, nargs="+", default=BRIDGES)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each row")
    arguments = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    print(setting("websockets", "msgspec") + "\n")
    print("| bridges | steps/s offered | steps/s stored | lost | p50 ms | p99 ms | receiver CPU | load CPU | verdict |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        endpoint, s3 = _start_s3(Path(folder))
        try:
            for bridges in arguments.bridges:
                row = _measure(bridges, arguments.seconds, Path(folder) / str(bridges), endpoint)
                print(_line(row), flush=True)
                if row.verdict:
                    break
        finally:
            s3.terminate()
            s3.wait()
    return 0


def _line(row: Row) -> str:
    found = row.measured
    cpu = "-" if found.receiver_cpu is None else f"{100 * found.receiver_cpu:.0f} %"
    stored = row.stored_steps / found.seconds
    cells = [
        str(row.bridges),
        f"{found.offered_steps / found.seconds:.0f}",
        f"{stored:.0f}",
        str(row.lost),
        f"{1000 * found.p50:.1f}",
        f"{1000 * found.p99:.1f}",
        cpu,
        f"{100 * found.cpu:.0f} %",
        row.verdict or "keeps up",
    ]
    return "| " + " | ".join(cells) + " |"


def _measure(bridges: int, seconds: float, folder: Path, endpoint: str) -> Row:
    folder.mkdir()
    token = new_token()
    config = RunConfig(
        run_id=f"bench-{bridges}",
        bucket=BucketConfig(name=BUCKET, endpoint_url=endpoint),
        listen_host="127.0.0.1",
        listen_port=0,
        max_bridges=10_000,
    )
    (folder / RUN_CONFIG).write_bytes(msgspec.json.encode(config))
    (folder / "token.txt").write_text(token, encoding="utf-8")
    arguments = ["--config", str(folder / RUN_CONFIG), "--folder", str(folder)]
    with (folder / "receiver.log").open("wb") as log:
        receiver = _start(0, "train_cloud.receiver", *arguments, token=folder / "token.txt", stderr=log)
    try:
        pairing_file = folder / PAIRING
        _wait(pairing_file.exists, "the receiver listens")
        pairing = parse_pairing(pairing_file.read_text(encoding="utf-8"))
        load = Load(
            pairing.host, pairing.port, token, receiver.pid, racing(task_config(config)).signature, bridges, seconds
        )
        player = _start(1, "scripts.bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        answer, _ = player.communicate(msgspec.json.encode(load), timeout=seconds + 120)
    finally:
        receiver.terminate()
        receiver.wait(timeout=60)
    store = Store(folder / STORE)
    stored = store.total_steps()
    store.close()
    return Row(bridges, msgspec.json.decode(answer, type=Measured), stored)


def _start_s3(folder: Path) -> tuple[str, "subprocess.Popen[bytes]"]:
    file = folder / "s3.txt"
    server = _start(1, "scripts.demo.s3_server", str(file), stderr=subprocess.DEVNULL)
    _wait(file.exists, "the S3 server answers")
    endpoint = file.read_text(encoding="utf-8")
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=BUCKET)
    return endpoint, server


def _start(
    core: int, module: str, *arguments: str, token: Path | None = None, **streams: object
) -> "subprocess.Popen[bytes]":
    """Start a module as a process, pinned to a core where the system can do that."""
    environment = os.environ | ({TOKEN_VARIABLE: str(token)} if token else {})
    process: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        **streams,  # type: ignore[call-overload]
    )
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process.pid, {cores[min(core, len(cores) - 1)]})
    return process


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited {START_SECONDS:.0f} s in vain until {what}.")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())

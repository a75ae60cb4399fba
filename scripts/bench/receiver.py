"""`python -m scripts.bench.receiver`: how many bridges one receiver on one core serves, as a Markdown table.

A real receiver process (TLS, SQLite with synchronous=FULL, segments to an S3 server) is pinned to one core; a load
process on the other plays 1, 10, 100 and more bridges at 60 steps/s each, in batches of ten, until something gives way.
Every row has a fresh receiver and store, and takes about ten seconds. The first row is of ten bridges beside a peer
that does its worst (`scripts/bench/hostile.py`), to be compared with that of ten bridges alone.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from experience.environment import racing
from scripts.bench.load import STEPS_PER_SECOND, Load, Measured, pin
from scripts.bench.measuring import head, options, row
from scripts.bench.setting import setting
from scripts.processes.crew import Crew
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.run_folder.files import PAIRING, RUN_CONFIG, STORE, TOKEN_VARIABLE
from train_cloud.store import Store
from wire.pairing import new_token

BRIDGES = (1, 10, 100, 200, 400, 600, 800)
BESIDE = 10
START_SECONDS = 30.0
BROKEN_P99 = 1.0
FULL_CORE = 0.9


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


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__, bridges=(BRIDGES, "how many, row by row"), seconds=(10.0, "of load for each row"))
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    print(setting("websockets", "msgspec") + "\n")
    columns = ("bridges", "steps/s offered", "steps/s stored", "lost", "p50 ms", "p99 ms", "receiver CPU", "load CPU")
    print(head(*columns, "verdict"))
    with tempfile.TemporaryDirectory() as folder, Crew(Path(folder)) as crew:
        url = Path(folder) / "s3.txt"
        pin(crew.start("s3", "scripts.bench.s3_server", str(url), "bench"), core=1)
        wait_until(url.exists, "the S3 server answers", START_SECONDS)
        bucket = BucketConfig(name="bench", endpoint_url=url.read_text(encoding="utf-8"))
        for bridges, hostile in ((BESIDE, True), *((number, False) for number in arguments.bridges)):
            name = f"{bridges} beside a hostile peer" if hostile else str(bridges)
            found = _measure(bridges, arguments.seconds, Path(folder) / name, bucket, hostile)
            seen = found.measured
            rates = [f"{steps / seen.seconds:.0f}" for steps in (seen.offered_steps, found.stored_steps)]
            times = [f"{1000 * seconds:.1f}" for seconds in (seen.p50, seen.p99)]
            cpu = ["-" if share is None else f"{100 * share:.0f} %" for share in (seen.receiver_cpu, seen.cpu)]
            print(row(name, *rates, found.lost, *times, *cpu, found.verdict or "keeps up"), flush=True)
            if found.verdict and not hostile:
                break


def _measure(bridges: int, seconds: float, folder: Path, bucket: BucketConfig, hostile: bool) -> Row:
    config = RunConfig(
        run_id=f"bench-{bridges}{'-hostile' * hostile}",
        bucket=bucket,
        listen_host="127.0.0.1",
        listen_port=0,
        max_bridges=10_000,
    )
    folder.mkdir()
    run, token, pairing = folder / RUN_CONFIG, folder / "token.txt", folder / PAIRING
    run.write_bytes(msgspec.json.encode(config))
    token.write_text(new_token(), encoding="utf-8")
    with Crew(folder) as crew:
        arguments = ["--config", str(run), "--folder", str(folder)]
        environment = {TOKEN_VARIABLE: str(token)}
        receiver = crew.start("receiver", "train_cloud.receiver", *arguments, environment=environment)
        pin(receiver, core=0)
        wait_until(pairing.exists, "the receiver listens", START_SECONDS)
        uri = pairing.read_text(encoding="utf-8").strip()
        load = msgspec.json.encode(Load(uri, receiver, racing(task_config(config)).signature, bridges, seconds))
        if hostile:
            description = folder / "load.json"
            description.write_bytes(load)
            pin(crew.start("hostile", "scripts.bench.hostile", str(description)), core=1)
        command = [sys.executable, "-m", "scripts.bench.load"]
        answer = subprocess.run(command, input=load, stdout=subprocess.PIPE, timeout=seconds + 120, check=True).stdout
    with closing(Store(folder / STORE)) as store:
        stored = sum(state.stored_steps for state in store.streams().values() if state.bridge.startswith("bench-"))
        return Row(bridges, msgspec.json.decode(answer, type=Measured), stored)


if __name__ == "__main__":
    main()

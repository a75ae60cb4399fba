"""A run's folder, store and bucket with real trainers at work in it; the fixture wants `s3`."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from tests.support.experience import STREAM
from tests.support.kept_folder import KeptFolder
from tests.support.moto_s3 import MotoS3
from tests.support.runs import run_config
from train_cloud.object_store import ObjectNotFound
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig
from train_cloud.store import Store
from train_cloud.trainer import session
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.saving.manifest import find_newest


class Run:
    """A run's folder, its store and its bucket, with a trainer in a thread of the test."""

    def __init__(self, folder: Path, kept_in: MotoS3 | KeptFolder) -> None:
        self.folder = folder
        self.log = folder / "trainer.log"
        self.bucket = kept_in.bucket
        self.objects = open_store(self.bucket, "runs/test-run/")
        self.store = Store(folder / "store.db")
        self.store.register_stream(STREAM, "pc", "signature")
        self.store.set_ready()
        self.stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._processes: list[subprocess.Popen[bytes]] = []

    def config(self, **changes: object) -> RunConfig:
        small: dict[str, object] = {
            "bucket": msgspec.to_builtins(self.bucket),
            "network": [16, 16],
            "batch_size": 32,
            "total_timesteps": 400,
            "learning_starts": 100,
            "updates_per_step": 0.5,
            "save_frequency": 200,
            "gradient_chunk": 8,
            "publish_seconds": 0.1,
        }
        return run_config(**(small | changes))

    def start(self, config: RunConfig) -> "Future[ExitCode]":
        self.stop.clear()
        return self._pool.submit(session.train_run, config, self.folder, self.stop)

    def counters(self) -> Counters:
        found = find_newest(self.objects).checkpoint
        assert found is not None
        return msgspec.json.decode(found.files["counters.json"], type=Counters)

    def metrics(self) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.objects.get("metrics.json")[0])
        return document

    def trained(self) -> int:
        return self.store.progress().trained_steps

    def saved_steps(self) -> int:
        """Steps of the newest checkpoint in the bucket; 0 before the first."""
        try:
            return int(json.loads(self.objects.get("checkpoints/LATEST")[0])["steps"])
        except ObjectNotFound:
            return 0

    def rebuilt_digest(self) -> str:
        """What the process that was started last said of its replay buffer when it had rebuilt it."""
        line = next(line for line in reversed(self.log.read_text().splitlines()) if "replay buffer rebuilt" in line)
        return line.split(" digest=")[1].split()[0]

    def start_process(self, config: RunConfig) -> "subprocess.Popen[bytes]":
        file = self.folder / "run.json"
        file.write_bytes(msgspec.json.encode(config))
        command = [sys.executable, "-m", "train_cloud.trainer", "--config", str(file), "--folder", str(self.folder)]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, stderr=log)
        self._processes.append(process)
        return process

    def close(self) -> None:
        self.stop.set()
        for process in self._processes:
            process.kill()
            process.wait(120)
        self._pool.shutdown()


@pytest.fixture
def run(tmp_path: Path, s3: MotoS3) -> Iterator[Run]:
    run = Run(tmp_path, s3)
    yield run
    run.close()

"""What a process of a run of your own logs comes into the bucket, through outages and to its last line."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.moto_s3 import MotoS3, s3
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store

__all__ = ["s3"]

PROCESS = """
import logging, pathlib, sys
from runtime.logs import configure_logging
from train_cloud import log_shipping, object_store
from train_cloud.run_config import load_run_config
log_shipping.SHIP_SECONDS = 0.2
object_store.INSTANCE_FILE = log_shipping.INSTANCE_FILE = pathlib.Path(sys.argv[2])
configure_logging("trainer")
log_shipping.ship_log(load_run_config(sys.argv[1]), "trainer")
for number, line in enumerate(sys.stdin):
    logging.info("line %d: %s", number, line.strip())
raise RuntimeError("the last words")
"""


class Process:
    """A process that logs what it is told, and then ends by an error that nobody catches."""

    def __init__(self, folder: Path, s3: MotoS3, instance_file: Path) -> None:
        file = folder / "run.json"
        file.write_bytes(msgspec.json.encode(run_config(bucket=msgspec.to_builtins(s3.bucket))))
        self.objects = open_store(s3.bucket, "runs/test-run/")
        self.log = folder / "trainer.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROCESS, str(file), str(instance_file)],
                env=os.environ | {"PYTHONPATH": str(Path.cwd())},
                stdin=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(30) == 1

    def shipped(self) -> str:
        return "".join(gzip.decompress(self.objects.get(key)[0]).decode() for key in self.objects.list("logs/"))


@pytest.mark.slow
def test_every_line_comes_once_and_in_order_through_an_outage_to_an_end_by_an_error(tmp_path: Path, s3: MotoS3) -> None:
    process = Process(tmp_path, s3, tmp_path / "none")
    process.say("one")
    wait_until(lambda: "line 0: one" in process.shipped(), "the first piece comes", 30)
    s3.fail()
    process.say("two")
    wait_until(lambda: "the log is not in the bucket" in process.log.read_text(), "the outage is told", 30)
    process.say("three")
    s3.heal()
    wait_until(lambda: "line 2: three" in process.shipped(), "it goes on", 30)
    process.end()
    assert process.log.read_text().count("the log is not in the bucket") == 1
    assert process.shipped() == process.log.read_text()
    assert "the last words" in process.shipped()


@pytest.mark.slow
def test_on_an_instance_the_journal_is_shipped_and_nothing_else(tmp_path: Path, s3: MotoS3) -> None:
    instance = tmp_path / "instance.json"
    instance.touch()
    process = Process(tmp_path, s3, instance)
    process.say("one")
    process.end()
    assert "the last words" in process.log.read_text()
    assert process.objects.list() == []

"""docs/cloud.md's "Resuming by hand", command by command: a run whose instance is gone goes on in one's own folder."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.fetch import fetch
from scripts.cloud.stop import stop
from tests.support.operated import BUCKET, Operated, operated
from tests.support.receivers import Client, ReceiverProcess, hello
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.object_store import ObjectNotFound
from train_cloud.run_config import RunConfig
from train_cloud.trainer.counters import Counters
from train_cloud.trainer.saving.manifest import find_newest
from wire.pairing import Pairing, parse_pairing

__all__ = ["operated"]

ROOT = Path(__file__).resolve().parents[2]


def as_on_the_instance(operated: Operated) -> RunConfig:
    """The run.json of the bucket: an address of its own, and a bucket that is found as AWS's are."""
    return run_config(
        run_id=operated.deployment.run_id,
        bucket={"name": BUCKET, "region": operated.deployment.region},
        public_host="203.0.113.7",
        listen_host="127.0.0.1",
        listen_port=0,
        method="tqc",
        network=[16, 16],
        batch_size=32,
        total_timesteps=400,
        learning_starts=100,
        updates_per_step=0.5,
        save_frequency=200,
        gradient_chunk=8,
        publish_seconds=0.1,
    )


def commands() -> list[str]:
    """The commands that the page shows, with this Python for the environment's."""
    page = (ROOT / "docs" / "cloud.md").read_text(encoding="utf-8")
    chapter = page.partition("## Resuming by hand\n")[2].partition("\n## ")[0]
    return [
        line.replace(".venv/bin/python", sys.executable) for line in re.findall(r"^ {4}(.*)$", chapter, re.MULTILINE)
    ]


@contextmanager
def started(command: str, folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A process of a command line, in `folder`, which does not outlive the block; and its log."""
    log = folder / (re.findall(r"-m train_cloud[.](\w+)", command)[0] + ".log")
    with log.open("wb") as out:
        shell = ["sh", "-c", f"exec env {command}"]
        process = subprocess.Popen(shell, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=out)
    try:
        yield process, log
    finally:
        process.kill()
        process.wait(120)


def ended_in_order(process: "subprocess.Popen[bytes]", log: Path) -> None:
    process.terminate()
    assert process.wait(120) == ExitCode.OK, log.read_text()


def counters(operated: Operated) -> Counters:
    found = find_newest(operated.objects).checkpoint
    assert found is not None
    return msgspec.json.decode(found.files["counters.json"], type=Counters)


def drive(pairing: Pairing, config: RunConfig, first: int, last: int) -> None:
    """A bridge whose spool goes on behind what the receiver has: batches of 20 steps."""
    with Client(pairing) as client:
        assert client.begin(hello(config, last_number=last)).stored_through == first - 1
        client.store(*range(first, last + 1))


def the_instances_life(operated: Operated, config: RunConfig) -> None:
    """300 of the 400 steps, then the orderly end that a stop brings."""
    operated.objects.put("run.json", msgspec.json.encode(config))
    folder = operated.folder / "instance"
    running = ReceiverProcess(config, folder)
    try:
        # The instance's public address leads nowhere from here.
        drive(replace(running.pairing(), host="127.0.0.1"), config, 1, 15)
        trainer = f"{sys.executable} -m train_cloud.trainer --config {folder}/run.json --folder {folder}"
        with started(trainer, folder) as (process, log):
            wait_until(lambda: "checkpoint saved" in log.read_text(), "a checkpoint is saved", 60)
            ended_in_order(process, log)
        assert running.terminate() == ExitCode.OK
    finally:
        running.process.kill()


def is_done(operated: Operated) -> bool:
    try:
        return bool(operated.objects.get("DONE")[0])
    except ObjectNotFound:
        return False


@pytest.mark.slow
def test_a_fetched_run_goes_on_at_the_saved_step_with_the_commands_that_the_docs_show(
    operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = as_on_the_instance(operated)
    the_instances_life(operated, config)
    saved = counters(operated)
    monkeypatch.chdir(tmp_path)
    first, second, third, *by_hand = commands()
    assert (first, second, third) == ("make stop", "make fetch TO=mine", "make setup")
    assert operated.run(stop).code == ExitCode.OK
    assert operated.run(fetch, "--to", "mine").code == ExitCode.OK
    make_token, receive, train = by_hand
    subprocess.run(["sh", "-c", make_token], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    with started(receive, tmp_path) as (receiver, receiver_log), started(train, tmp_path) as (trainer, log):
        wait_until(
            lambda: f"event=resuming steps={saved.steps} updates={saved.updates}" in log.read_text(), "resumed", 60
        )
        pairing_file = tmp_path / "work" / "pairing.txt"
        wait_until(pairing_file.exists, "the receiver listens", 30)
        pairing = parse_pairing(pairing_file.read_text(encoding="utf-8"))
        assert pairing.host == "127.0.0.1", "not the instance's address"
        drive(pairing, config, 16, 20)
        assert trainer.wait(120) == ExitCode.OK, log.read_text()
        assert is_done(operated)
        assert "as_saved=True" in log.read_text(), "the replay is the one that was saved"
        ended_in_order(receiver, receiver_log)
    now = counters(operated)
    assert (now.steps, now.updates, now.resumes) == (400, 150, 1)

"""docs/own-server.md, on S3 servers that are not AWS and in a folder: a run is watched by its run.json, and fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.fetch import fetch
from scripts.cloud.logs import logs
from scripts.cloud.status import status
from scripts.setup import ROOT
from tests.support.kept_folder import plain_folder
from tests.support.odd_s3 import trust
from tests.support.operated import Said, command_line
from tests.support.receivers import Client, hello, receiver_process
from tests.support.runs import run_config
from tests.support.s3_servers import localbucket, make_bucket, seaweedfs
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig, RunConfig, load_run_config

Command = Callable[..., Said]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Calls a command as `make` does in the folder of run.json, on a PC without Terraform."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(tmp_path))

    def called(command: Callable[..., None], *arguments: str) -> Said:
        capsys.readouterr()
        code = command_line(command, ["--run", "run.json", *arguments])
        return Said(code, *capsys.readouterr())

    return called


def small_run(bucket: BucketConfig) -> RunConfig:
    return run_config(
        run_id="own-1",
        bucket=msgspec.to_builtins(bucket),
        listen_port=0,
        network=[16, 16],
        batch_size=32,
        total_timesteps=400,
        learning_starts=100,
        updates_per_step=0.5,
        save_frequency=200,
        gradient_chunk=8,
        publish_seconds=0.1,
    )


@contextmanager
def trainer(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "train_cloud.trainer", "--config", "run.json", "--folder", "work"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=log.parent, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def rows(said: Said) -> dict[str, str]:
    assert said.code == ExitCode.OK, said.err
    return dict(line.split(": ", 1) for line in said.out.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("server", [seaweedfs, localbucket, plain_folder], ids=["seaweed", "local", "folder"])
def test_a_run_of_ones_own_is_watched_and_brought_home_by_its_run_json(
    server: Callable[[Path], AbstractContextManager[BucketConfig]],
    call: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "s3").mkdir()
    monkeypatch.setenv("PATH", os.defpath)
    with server(tmp_path / "s3") as bucket:
        if bucket.folder is None:
            trust(tmp_path / "s3" / "server.pem", monkeypatch)
        config = small_run(bucket)
        (tmp_path / "run.json").write_bytes(msgspec.json.encode(config))
        absent = call(status)
        assert (absent.code, absent.out) == (ExitCode.STORAGE, "")
        assert "bucket" in absent.err

        if bucket.folder is None:
            make_bucket(bucket)
        else:
            open_store(bucket, "").prepare()
        assert rows(call(status))["state"] == "not started, or nothing is reported yet"
        assert "has no checkpoint yet" in call(fetch).err
        assert "has no log in its bucket yet" in call(logs).err

        log = tmp_path / "trainer.log"
        with receiver_process(config, tmp_path / "work") as receiver, trainer(log) as training:
            pairing = receiver.pairing()
            wait_until(lambda: "waiting for one; work/pairing.txt holds the pairing" in log.read_text(), "it waits", 60)
            with Client(pairing) as client:
                client.begin(hello(config, last_number=20))
                client.store(*range(1, 11))
                assert rows(call(status))["bridges"] == "1"
                wait_until(lambda: rows(call(status))["state"] == "training", "the first report", 60)
                client.store(*range(11, 21))
                assert training.wait(60) == ExitCode.OK, log.read_text()
            assert receiver.terminate() == ExitCode.OK

        said = log.read_text().splitlines()
        assert any('event="the run is done"' in line for line in said[:-4])
        assert "`make fetch RUN=run.json`" in said[-4]
        assert "`make status RUN=run.json`" in said[-3]
        assert "`make report RUN=run.json`" in said[-2]
        assert "-m scripts.lap TRACK --policy models/own-1/STEPS/policy.safetensors --picture lap.png" in said[-1]
        assert "event=receiving done=400" in receiver.log_text()
        assert "left=" not in receiver.log_text()

        found = rows(call(status))
        assert (found["state"], found["steps"]) == ("finished", "400 of 400 (100.0 %)")
        assert found["laps, clean ones"] == "20, 10"
        assert found["metres an episode"].split()[0] not in ("none", "0")
        assert found["bridges"] == "unknown (the receiver that has written work/pairing.txt does not answer)"
        elsewhere = rows(call(status, "--folder", "elsewhere"))["bridges"]
        assert elsewhere == "unknown (elsewhere/pairing.txt is not on this machine; FOLDER=... names another folder)"
        assert json.loads(call(status, "--json").out)["checkpoint_steps"] == 400

        brought = call(fetch)
        assert brought.code == ExitCode.OK, brought.err
        home = tmp_path / "models" / "own-1" / "400"
        assert {"model.zip", "policy.safetensors", "metrics.json"} <= {file.name for file in home.iterdir()}
        assert load_run_config(home / "run.json") == config
        assert "make stop" not in brought.err

        shown = call(logs)
        assert shown.code == ExitCode.OK, shown.err
        assert "process=receiver event=listening" in shown.out
        assert 'process=trainer event="the run is done"' in shown.out
        assert "aws ssm" not in shown.err


def test_a_file_that_is_no_run_is_refused_with_its_field(call: Command, tmp_path: Path) -> None:
    for command in (status, logs, fetch):
        said = call(command)
        assert (said.code, said.out) == (ExitCode.USAGE, "")
        assert "run.json cannot be read" in said.err
    (tmp_path / "run.json").write_text('{"run_id": "a", "bucket": {"nmae": "b"}}')
    assert "unknown field `bucket.nmae`" in call(status).err


def test_the_page_names_what_such_a_run_needs() -> None:
    chapter = (ROOT / "docs" / "own-server.md").read_text(encoding="utf-8")
    for named in ("endpoint_url", "aws s3 mb", "create_bucket", "tensorboard --logdir served/tensorboard"):
        assert named in chapter
    for command in ("status", "logs", "fetch"):
        assert f"make {command} RUN=run.json" in chapter

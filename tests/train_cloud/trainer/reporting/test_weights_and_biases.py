"""Curves at Weights & Biases by the real wandb, offline, and towards servers that are not there or refuse us."""

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.run_folder.files import WANDB_KEY_VARIABLE
from train_cloud.trainer.reporting import weights_and_biases
from train_cloud.trainer.reporting.weights_and_biases import WandbCurves

KEY = "k3y" * 14
CONFIG = run_config(run_id="monza-7", wandb_project="laps")


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    (tmp_path / "key").write_text(KEY + "\n")
    monkeypatch.setenv(WANDB_KEY_VARIABLE, str(tmp_path / "key"))


class NoEntry(BaseHTTPRequestHandler):
    """A W&B server that knows nobody."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"errors":[{"message":"user is not logged in"}]}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Deleted(NoEntry):
    """A W&B server where the run was deleted: it knows us, and takes the run's name no more."""

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        viewer = {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        body = json.dumps({"data": {"viewer": viewer}}).encode()
        if gone := b"upsertBucket" in asked:
            problem = "run monza-7 was previously created and deleted; try a new run name"
            body = json.dumps({"errors": [{"message": problem}], "data": {"upsertBucket": None}}).encode()
        self.send_response(409 if gone else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", NoEntry)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def begun(folder: Path) -> WandbCurves:
    curves = WandbCurves.of_run(CONFIG, folder)
    assert curves is not None
    return curves


def wait_for_words(capfd: pytest.CaptureFixture[str], words: str) -> str:
    """What the process at W&B has said by the time that it said these words."""
    said = ""

    def told() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return words in said

    wait_until(told, words, 90)
    return said


def everything_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def test_without_a_project_or_without_a_key_there_is_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert WandbCurves.of_run(run_config(), tmp_path) is None
    assert not caplog.text
    (tmp_path / "key").write_text("\n")
    assert WandbCurves.of_run(CONFIG, tmp_path) is None
    assert "there is no key" in caplog.text
    monkeypatch.delenv(WANDB_KEY_VARIABLE)
    assert WandbCurves.of_run(CONFIG, tmp_path) is None


@pytest.mark.slow
def test_two_lives_write_the_same_run_and_the_key_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "service"
    for first in (10, 40):
        folder.mkdir(exist_ok=True)
        curves = begun(folder)
        for steps in (first, first + 10):
            curves.add(steps, {"drive/laps": float(steps)})
        wait_for_words(capfd, "W&B draws the run")
        curves.close()
        ended = int(time.time())
        wait_until(lambda: int(time.time()) > ended, "the next second, by which wandb names its folders")  # noqa: B023 - called in this turn of the loop
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert {run.name.split("-", 3)[3] for run in runs} == {"monza-7"}
    for run in runs:
        assert b"drive/laps" in (run / "run-monza-7.wandb").read_bytes()
    assert KEY.encode() not in everything_below(folder)


@pytest.mark.slow
def test_a_server_out_of_reach_costs_nobody_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    curves = begun(tmp_path)
    # W&B's end takes 8 s at most, once its process is there.
    monkeypatch.setattr(weights_and_biases, "CLOSE_SECONDS", 120.0)
    # If but a few points waited for W&B, which never answers, they would take longer than a test may.
    for steps in range(20_000):
        curves.add(steps, {"drive/laps": 1.0})
    curves.close()
    said = capfd.readouterr().err
    assert "ended before W&B could be reached" in said
    assert KEY not in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_key_that_is_refused_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    curves = begun(tmp_path)
    said = wait_for_words(capfd, "W&B refuses the key")
    curves.add(10, {"drive/laps": 1.0})
    curves.close()
    assert KEY not in said
    assert "Traceback" not in said + capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("server", [Deleted], indirect=True)
def test_a_run_that_was_deleted_there_is_told_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    curves = begun(tmp_path)
    said = wait_for_words(capfd, "a run of that name was deleted there")
    curves.close()
    assert "trying again" not in said


@pytest.mark.slow
def test_a_key_of_a_wrong_form_is_refused_without_asking_a_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("short-secret")
    curves = begun(tmp_path)
    said = wait_for_words(capfd, "W&B refuses the key")
    curves.close()
    assert "short-secret" not in said + capfd.readouterr().err

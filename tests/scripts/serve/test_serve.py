"""A run from an empty folder: serve it, pair by the printed string, drive, kill the trainer, stop, go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.fetch import fetch
from scripts.cloud.logs import logs
from scripts.cloud.pair import pair
from scripts.cloud.status import status
from scripts.cloud.stop import stop
from scripts.serve.folder import prepare
from scripts.serve.installed import INSTALLED
from tests.support.ended import has_ended
from tests.support.operated import Said, command_line
from tests.support.site import batches_in_bucket
from tests.support.small_run import SMALL_RUN
from tests.support.waiting import wait_until
from train_cloud.open_store import open_store
from train_cloud.run_config import RunConfig, load_run_config
from train_cloud.run_folder.keys import run_prefix
from train_cloud.store import Store
from train_cloud.trainer.saving.manifest import find_newest

ROOT = Path(__file__).parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="terminals and signals between processes are POSIX")
SMALL = SMALL_RUN | {"publish_seconds": 0.2, "listen_port": 0}


class Serving:
    """`python -m scripts.serve` on a terminal of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        ours, theirs = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.serve", "--folder", str(folder), *options],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, terminal: int) -> None:
        # A terminal whose other side is closed is EIO on Linux.
        try:
            while piece := os.read(terminal, 65536):
                self._said += piece
        except OSError:
            pass
        finally:
            os.close(terminal)

    @property
    def said(self) -> str:
        return self._said.decode(errors="replace")

    def pids(self, name: str) -> list[int]:
        """Of the process of that name, in all its lives."""
        return [int(pid) for pid in re.findall(rf"process started \(name {name}, pid (\d+)\)", self.said)]

    def wait_for(self, what: str, seconds: float = 60.0) -> str:
        """Until a line of what it says is `what`, a pattern; the line."""
        found: list[str] = []

        def is_said() -> bool:
            found[:] = re.findall(rf"^{what}\r?$", self.said, re.M)
            assert found or self.process.poll() is None, self.said
            return bool(found)

        wait_until(is_said, f"it says {what}", seconds)
        return found[-1].strip()

    def ended(self) -> int:
        """Its exit code, when it has ended and all that it said is read."""
        code = self.process.wait(240)
        self._reader.join(60)
        return code


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serving]:
    one = Serving(folder, *options)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        started = [pid for name in PROCESSES for pid in one.pids(name)]
        wait_until(lambda: all(map(has_ended, started)), "all have ended", 60)


PROCESSES = ("receiver", "trainer", "dashboard")


@contextmanager
def driving(uri: str, folder: Path) -> Iterator[None]:
    """A bridge with a simulated car, paired by the string."""
    line = [sys.executable, "-m", "bridge", "drive", "--car", "simulated", "--track", "seed:7:1200", "--cars", "2"]
    with (folder / "bridge.log").open("ab") as log:
        bridge = subprocess.Popen(
            [*line, "--spool", str(folder / "spool")], cwd=ROOT, env=os.environ | {"AC_BRIDGE_URI": uri}, stderr=log
        )
    try:
        yield
    finally:
        bridge.terminate()
        bridge.wait(120)


def steps_saved(config: RunConfig) -> int:
    """Of the newest checkpoint; 0 without one."""
    checkpoint = find_newest(open_store(config.bucket, run_prefix(config.run_id))).checkpoint
    return checkpoint.manifest.steps if checkpoint else 0


def asked(capsys: pytest.CaptureFixture[str], command: object, *arguments: str) -> Said:
    capsys.readouterr()
    assert callable(command)
    code = command_line(command, list(arguments))
    return Said(code, *capsys.readouterr())


@posix
@pytest.mark.slow
def test_a_run_is_served_from_an_empty_folder_and_goes_on_after_every_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, run = tmp_path / "served", tmp_path / "run.json"
    run.write_text(json.dumps(SMALL | {"bucket": {"folder": str(tmp_path / "data")}}))
    with serving(folder, "--run", str(run), "--host", "127.0.0.1") as served:
        served.wait_for(r"Watch it learn: http://127\.0\.0\.1:\d+/link/\S+")
        uri = served.wait_for(r"wss://\S+")
        assert served.said.strip().endswith(uri), "the string is the last thing that is said"
        assert (folder / "pairing.txt").read_text().strip() == uri
        assert asked(capsys, pair, "--folder", str(folder)).out.strip() == uri
        config = load_run_config(folder / "run.json")
        with driving(uri, tmp_path):
            wait_until(lambda: steps_saved(config) > 0, "there is a checkpoint", 90, every=0.2)
            os.kill(served.pids("trainer")[0], signal.SIGKILL)
            wait_until(lambda: len(served.pids("trainer")) == 2, "the trainer is started again", 30)
            before = steps_saved(config)
            wait_until(lambda: steps_saved(config) > before, "it goes on", 90, every=0.2)
            shown = asked(capsys, status, "--folder", str(folder))
            assert (shown.code, "bridges: 1" in shown.out) == (ExitCode.OK, True), shown.out + shown.err
        served.process.send_signal(signal.SIGINT)
        assert served.ended() == ExitCode.OK, served.said
    assert "the trainer has ended and is started again" in served.said
    assert "Ended in order; everything is saved in" in served.said

    store = Store(folder / "store.db")
    stored = {(one.stream, one.number): one.blob for one in store.read_batches(0, 10**6)}
    store.close()
    saved = batches_in_bucket(open_store(config.bucket, run_prefix(config.run_id)))
    assert stored
    assert stored.items() <= saved.items(), "what was stored is in the run's data, too"
    first = steps_saved(config)
    assert "No receiver runs in" in asked(capsys, pair, "--folder", str(folder)).err

    # A second start needs no option, and another command ends it; what is named by nobody is the run that lies here.
    monkeypatch.chdir(tmp_path)
    with serving(folder) as served:
        again = served.wait_for(r"wss://\S+")
        assert again.partition("@")[0] == uri.partition("@")[0], "the token is the same"
        assert again.rpartition("/")[2] == uri.rpartition("/")[2], "and so is the certificate"
        with driving(again, tmp_path):
            wait_until(lambda: steps_saved(config) > first, "the run goes on", 90, every=0.2)
        stopped = asked(capsys, stop)
        assert (stopped.code, "everything is saved" in stopped.out) == (ExitCode.OK, True), stopped.err
        assert served.ended() == ExitCode.OK, served.said
    assert "Nothing serves served; nothing is changed." in asked(capsys, stop).out

    brought = asked(capsys, fetch, "--to", str(tmp_path / "model"))
    assert (brought.code, (tmp_path / "model" / "policy.safetensors").exists()) == (ExitCode.OK, True), brought.err
    told = asked(capsys, logs)
    assert "process=receiver event=listening" in told.out, told.err
    # The token is in its file, and in no other thing that was written.
    token = (folder / "token").read_text().strip()
    kept = [file for place in (folder / "logs", tmp_path / "data") for file in place.rglob("*") if file.is_file()]
    assert len(kept) > 5
    assert not [file for file in kept if token.encode() in file.read_bytes()]
    assert token not in told.out


@posix
@pytest.mark.slow
def test_what_cannot_be_served_ends_with_a_sentence_and_starts_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    prepare(folder, None, "127.0.0.1", 8799)
    (folder / INSTALLED).write_text("user\n")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.serve", "--folder", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith(f"The run in {folder} is a service of this machine")
    assert not (folder / "logs").exists()

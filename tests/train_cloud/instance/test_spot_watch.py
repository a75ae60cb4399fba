"""The watcher as a process of its own, on a Python without any packages, against a metadata service."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.imds import Imds, Metadata
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Watcher:
    folder: Path
    facts: Metadata
    imds: Imds
    process: "subprocess.Popen[bytes]"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def polls(self, count: int) -> None:
        """Wait until it has asked for both kinds of news `count` times more."""
        before = self._asked()
        wait_until(lambda: self._asked() >= before + count + 1, "the watcher polls")

    def _asked(self) -> int:
        return sum("recommendations" in request or request.startswith("PUT") for request in self.imds.requests)


@contextmanager
def watcher(folder: Path, **environment: str) -> Iterator[Watcher]:
    facts = Metadata()
    with Imds.of(facts) as imds, (folder / "log").open("wb") as log:
        # -S: without site-packages, as the system's Python is.
        command = [sys.executable, "-S", "-m", "train_cloud.instance.spot_watch", "--run-folder", str(folder)]
        process = subprocess.Popen(
            [*command, "--poll-seconds", "0.05"],
            env=os.environ
            | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.endpoint, "PYTHONPATH": str(ROOT)}
            | environment,
            stderr=log,
        )
        try:
            yield Watcher(folder, facts, imds, process)
        finally:
            process.kill()
            process.wait(120)


def test_without_news_nothing_is_written(tmp_path: Path) -> None:
    with watcher(tmp_path) as watching:
        watching.polls(3)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["log"]


def test_a_notice_is_written_with_its_action_and_time(tmp_path: Path) -> None:
    with watcher(tmp_path) as watching:
        watching.facts.give_notice(120)
        wait_until((tmp_path / "notice").exists, "the notice is written")
        assert (tmp_path / "notice").read_text() == f"terminate\n{watching.facts.notice}\n"
        assert not (tmp_path / "rebalance").exists()
        wait_until(lambda: 'event="EC2 takes this instance back" action=terminate' in watching.log(), "it is said")


def test_a_rebalance_hint_is_no_notice_and_is_written_once(tmp_path: Path) -> None:
    with watcher(tmp_path) as watching:
        watching.facts.rebalance = "2026-11-21T08:00:00Z"
        wait_until((tmp_path / "rebalance").exists, "the hint is written")
        assert (tmp_path / "rebalance").read_text() == "2026-11-21T08:00:00Z\n"
        (tmp_path / "rebalance").unlink()
        watching.polls(3)
        assert not (tmp_path / "rebalance").exists()
        watching.facts.rebalance = "2026-11-21T09:00:00Z"
        wait_until((tmp_path / "rebalance").exists, "another hint is written")
        assert not (tmp_path / "notice").exists()


def test_it_survives_a_metadata_service_that_fails_and_says_so_once(tmp_path: Path) -> None:
    with watcher(tmp_path) as watching:
        watching.polls(1)
        watching.imds.failures = 10
        wait_until(lambda: "the metadata service answers again" in watching.log(), "it recovers")
        assert watching.log().count("no news of interruptions") == 1
        watching.facts.give_notice(120)
        wait_until((tmp_path / "notice").exists, "the notice is written")


def test_an_answer_that_cannot_be_read_is_a_notice_all_the_same(tmp_path: Path) -> None:
    with watcher(tmp_path) as watching:
        watching.facts.notice_action = "line one\nline two"
        watching.facts.give_notice(120)
        wait_until((tmp_path / "notice").exists, "the notice is written")
        assert (tmp_path / "notice").read_text().splitlines()[0] == "line one line two"


def test_it_tells_systemd_that_it_watches_and_ends_in_order(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        with watcher(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify")) as watching:
            assert b"READY=1" in systemd.recv(4096)
            assert b"WATCHDOG=1" in systemd.recv(4096)
            watching.process.send_signal(signal.SIGTERM)
            assert watching.process.wait(120) == 0


@pytest.mark.parametrize("python", ["/usr/bin/python3"])
def test_the_systems_python_runs_it(python: str, tmp_path: Path) -> None:
    if not Path(python).exists():
        pytest.skip(f"there is no {python} here")
    command = [python, "-m", "train_cloud.instance.spot_watch", "--help"]
    ran = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr

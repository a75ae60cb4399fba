"""What systemd hears from a service, over a real datagram socket of either kind."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from train_cloud import notify

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.name == "nt", reason="no datagrams of AF_UNIX")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@ac-training-test-{os.getpid()}-{time.time_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(60)
        listening.bind(path.replace("@", "\0", 1) if request.param == "abstract" else path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield listening


def test_a_service_starts_is_ready_and_stays_alive(manager: socket.socket) -> None:
    notify.starting("waiting for S3")
    assert manager.recv(4096) == b"EXTEND_TIMEOUT_USEC=90000000\nWATCHDOG=1\nSTATUS=waiting for S3"
    notify.ready("listening\non port 8765")
    assert manager.recv(4096) == b"READY=1\nWATCHDOG=1\nSTATUS=listening on port 8765"
    notify.alive()
    assert manager.recv(4096) == b"WATCHDOG=1"
    notify.status("draining")
    assert manager.recv(4096) == b"STATUS=draining"


def test_nothing_happens_without_a_manager_or_with_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("", "relative", str(tmp_path / "nobody"), "@nobody-listens-here"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify.alive()
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify.ready("ready")


@pytest.mark.slow
@pytest.mark.usefixtures("manager")
def test_a_manager_that_reads_nothing_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "SEND_SECONDS", 0.01)
    # Many more than its queue holds: whoever waited for it to read would wait for ever.
    for _ in range(300):
        notify.alive()

"""What the doctor says of the receiver: of the real one, and of servers that are wrong in one way each."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from bridge.doctor import cloud
from bridge.doctor.cloud import cloud_findings
from bridge.doctor.messages import Finding
from tests.support.certificates import certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import CONFIG, ThreadedReceiver
from tests.support.wire_server import WireServer
from wire.messages import PROTOCOL
from wire.pairing import Pairing

OTHER_TOKEN = "fedcba9876543210Other"


@pytest.fixture(autouse=True)
def few_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "PINGS", 3)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    running = ThreadedReceiver(CONFIG, tmp_path)
    yield running
    running.close()


@contextmanager
def clock_of(hours: float | None) -> Iterator[Pairing]:
    """A server whose clock is ahead by so many hours, or that names no time."""

    def dated(connection: ServerConnection, request: Request, response: Response) -> Response:
        del connection, request
        del response.headers["Date"]
        if hours is not None:
            response.headers["Date"] = formatdate(time() + 3600.0 * hours, usegmt=True)
        return response

    def listen(connection: ServerConnection) -> None:
        for _ in connection:
            pass

    with serve(listen, "127.0.0.1", 0, subprotocols=[Subprotocol(PROTOCOL)], process_response=dated) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield Pairing("127.0.0.1", server.socket.getsockname()[1], OTHER_TOKEN, tls=False)
        finally:
            server.shutdown()


def told(pairing: Pairing) -> dict[str, Finding]:
    return {finding.message.name: finding for finding in cloud_findings(pairing)}


def test_the_right_receiver_answers_at_once_and_nothing_of_the_run_changes(receiver: ThreadedReceiver) -> None:
    findings = told(receiver.pairing)
    assert set(findings) == {"PAIRED", "RECEIVER", "ROUND_TRIP", "CLOCK"}
    assert receiver.store.read_batches(0, 10) == []


def test_a_wrong_token_is_told_without_it(receiver: ThreadedReceiver) -> None:
    findings = told(replace(receiver.pairing, token=OTHER_TOKEN))
    assert set(findings) == {"PAIRED", "TOKEN"}
    assert all(OTHER_TOKEN not in finding.says for finding in findings.values())


def test_a_long_way_is_told(receiver: ThreadedReceiver) -> None:
    with FaultProxy(("127.0.0.1", receiver.port), latency=0.2) as proxy:
        findings = told(replace(receiver.pairing, port=proxy.port))
    assert "RECEIVER" in findings
    assert float(findings["ROUND_TRIP_SLOW"].values["median"]) >= 400.0


def test_a_pin_is_right_or_wrong(tmp_path: Path) -> None:
    context, pin = certificate(tmp_path, "receiver")
    _, other = certificate(tmp_path, "other")
    with WireServer(tls=context) as server:
        assert "RECEIVER" in told(replace(server.pairing, pin=pin))
        assert set(told(replace(server.pairing, pin=other))) == {"PAIRED", "CERTIFICATE"}
        assert set(told(server.pairing)) == {"PAIRED", "CERTIFICATE"}


def test_another_version_is_told() -> None:
    with WireServer(subprotocol="ac-training.v0") as server:
        assert set(told(server.pairing)) == {"PAIRED", "REFUSED"}


def test_nobody_there_is_told_in_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        findings = told(Pairing("127.0.0.1", unused.getsockname()[1], OTHER_TOKEN, tls=False))
    assert "refused" in findings["UNREACHABLE"].says


def test_clocks_that_differ_are_told() -> None:
    for hours, name in ((2.0, "CLOCK_OFF"), (-2.0, "CLOCK_OFF"), (0.0, "CLOCK"), (None, "CLOCK_UNKNOWN")):
        with clock_of(hours) as pairing:
            assert name in told(pairing), hours

"""What the doctor says of the receiver: of the real one, and of servers that are wrong in one way each."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from time import time

import pytest
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from bridge.doctor import cloud
from bridge.doctor.cloud import cloud_findings
from bridge.doctor.messages import Finding
from bridge.link.dialing import LinkConnection
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


def told(pairing: Pairing, stopped: Callable[[], bool] = lambda: False) -> dict[str, Finding]:
    return {finding.message.name: finding for finding in cloud_findings(pairing, stopped)}


@contextmanager
def answering(status: int) -> Iterator[Pairing]:
    """A server that answers every call with this HTTP status."""

    def answer(connection: ServerConnection, request: Request) -> Response:
        del request
        return connection.respond(HTTPStatus(status), "no")

    with serve(lambda _: None, "127.0.0.1", 0, process_request=answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield Pairing("127.0.0.1", server.socket.getsockname()[1], OTHER_TOKEN, tls=False)
        finally:
            server.shutdown()


@contextmanager
def silent() -> Iterator[Pairing]:
    """A port where calls are taken and nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Pairing("127.0.0.1", server.getsockname()[1], OTHER_TOKEN, tls=False)


def test_the_right_receiver_answers_at_once_and_nothing_of_the_run_changes(receiver: ThreadedReceiver) -> None:
    findings = told(receiver.pairing)
    assert set(findings) == {"PAIRED", "RECEIVER_PLAIN", "ROUND_TRIP", "CLOCK"}
    assert receiver.store.read_batches(0, 10) == []


def test_a_wrong_token_is_told_without_it(receiver: ThreadedReceiver) -> None:
    findings = told(replace(receiver.pairing, token=OTHER_TOKEN))
    assert set(findings) == {"PAIRED", "TOKEN"}
    assert all(OTHER_TOKEN not in finding.says for finding in findings.values())


def test_a_long_way_is_told(receiver: ThreadedReceiver) -> None:
    with FaultProxy(("127.0.0.1", receiver.port), latency=0.2) as proxy:
        findings = told(replace(receiver.pairing, port=proxy.port))
    assert "RECEIVER_PLAIN" in findings
    assert float(findings["ROUND_TRIP_SLOW"].values["median"]) >= 400.0


def test_a_pin_is_right_or_wrong(tmp_path: Path) -> None:
    context, pin = certificate(tmp_path, "receiver")
    _, other = certificate(tmp_path, "other")
    with WireServer(tls=context) as server:
        assert "RECEIVER" in told(replace(server.pairing, pin=pin))
        assert set(told(replace(server.pairing, pin=other))) == {"PAIRED", "CERTIFICATE"}
        assert set(told(server.pairing)) == {"PAIRED", "UNTRUSTED"}


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


@pytest.mark.parametrize(("status", "name"), [(429, "THROTTLED"), (503, "BUSY"), (404, "STRANGER"), (502, "STRANGER")])
def test_whoever_answers_is_not_told_as_silence(status: int, name: str) -> None:
    with answering(status) as pairing:
        assert set(told(pairing)) == {"PAIRED", name}


def test_it_ends_when_it_is_stopped_and_says_nothing_of_what_it_did_not_see() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with silent() as pairing:
        assert set(told(pairing, stop.is_set)) == {"PAIRED"}, "not even that nothing came back in time"


def test_silence_is_waited_for_no_longer_than_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "CALL_SECONDS", 0.3)
    with silent() as pairing:
        assert "nothing came back in time" in told(pairing)["UNREACHABLE"].says


def test_a_resolver_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "CALL_SECONDS", 0.3)
    answered = threading.Event()

    def never(*_: object, **__: object) -> None:
        answered.wait(120)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    findings = told(Pairing("receiver.example", 8765, OTHER_TOKEN, "ab" * 32))
    answered.set()
    assert "nothing came back in time" in findings["UNREACHABLE"].says


@pytest.mark.parametrize("proxy", ["ftp://user:hunter2@proxy.example:1", "socks5://user:hunter2@127.0.0.1:1"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for variable in ("https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, proxy)
    monkeypatch.setitem(sys.modules, "python_socks", None)
    finding = told(Pairing("receiver.example", 8765, OTHER_TOKEN, "ab" * 32))["PROXY"]
    assert "no_proxy" in finding.says
    assert "hunter2" not in finding.says


def test_what_goes_wrong_on_the_way_is_told_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (
        OSError(113, "Connect call failed ('127.0.0.77', 1)"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed ('127.0.0.77', 1)"),
        InvalidHandshake("http://user:hunter2@127.0.0.77"),
        ConnectionResetError(104, "127.0.0.77"),
    ):

        async def failing(pairing: Pairing, error: Exception = error) -> LinkConnection:
            del pairing
            raise error

        monkeypatch.setattr(cloud, "dial", failing)
        says = told(Pairing("receiver.example", 8765, OTHER_TOKEN))["UNREACHABLE"].says
        assert "127.0.0.77" not in says, says
        assert "hunter2" not in says

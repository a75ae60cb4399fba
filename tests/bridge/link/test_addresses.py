"""A name with several addresses of which one leads nowhere: the others are called beside it, and each is bounded."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from bridge.doctor.cloud import cloud_findings
from bridge.link import dialing
from bridge.link.addresses import MOST_ADDRESSES, addresses_of
from bridge.link.dialing import dial
from bridge.link.refusal import WrongCertificate, WrongToken
from bridge.spool import Spool
from tests.support.certificates import certificate
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from wire.pairing import Pairing

NAME = "receiver.example"
NOWHERE, HERE = "127.0.0.2", "127.0.0.1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("https_proxy", "http_proxy", "all_proxy", "wss_proxy", "ws_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The addresses of names, for a resolver that knows no other name."""
    known: dict[str, list[str]] = {NAME: [NOWHERE, HERE]}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        return [entry for one in known.get(host, [host]) for entry in real(one, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@contextmanager
def mute(port: int) -> Iterator[None]:
    """An address where calls are taken and nothing is ever said."""
    with socket.create_server((NOWHERE, port)):
        yield


@contextmanager
def lost(port: int) -> Iterator[None]:
    """An address where packets are lost: its queue is full, so that no further call is taken."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server((NOWHERE, port), backlog=0))
        while True:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.5)
            try:
                filler.connect((NOWHERE, port))
            except TimeoutError:
                break
        yield


@contextmanager
def refusing(port: int) -> Iterator[None]:
    """An address where nobody listens."""
    del port
    yield


@pytest.mark.parametrize("nowhere", [mute, lost, refusing])
def test_an_address_that_leads_nowhere_keeps_nobody_from_the_others(
    names: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Any
) -> None:
    del names
    # Whoever waited for the first address would wait for ever, and there is but one attempt.
    monkeypatch.setattr(dialing, "OPEN_TIMEOUT_S", 3600.0)
    monkeypatch.setattr(dialing, "DIAL_INTERVAL_S", (3600.0, 3600.0))
    context, pin = certificate(tmp_path, "receiver")
    with (
        Spool(tmp_path / "spool") as spool,
        WireServer(tls=context) as server,
        nowhere(server.port),
        running(replace(server.pairing, host=NAME, pin=pin), spool) as link,
    ):
        blobs = append(spool, link, 3)
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_the_doctor_reaches_the_receiver_past_an_address_that_leads_nowhere(
    names: dict[str, list[str]], tmp_path: Path
) -> None:
    del names
    context, pin = certificate(tmp_path, "receiver")
    with WireServer(tls=context) as server, mute(server.port):
        findings = cloud_findings(replace(server.pairing, host=NAME, pin=pin), lambda: False)
        assert "RECEIVER" in {finding.message.name for finding in findings}


def test_each_address_is_bounded(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "OPEN_TIMEOUT_S", 0.3)
    names[NAME] = [NOWHERE]
    with socket.create_server((NOWHERE, 0)) as server, pytest.raises(TimeoutError):
        asyncio.run(dial(Pairing(NAME, server.getsockname()[1], "x" * 20, "ab" * 32)))


def test_a_stranger_at_one_address_is_no_verdict_about_the_others(names: dict[str, list[str]], tmp_path: Path) -> None:
    (context, pin), (strange, _) = certificate(tmp_path, "receiver"), certificate(tmp_path, "stranger")
    with WireServer(tls=context) as server, stranger_beside(server.port, strange) as stranger:
        pairing = replace(server.pairing, host=NAME, pin=pin)

        async def call() -> None:
            (await dial(pairing)).transport.abort()

        asyncio.run(call())
        assert len(server.requests) == 1
        names[NAME] = [NOWHERE, "127.0.0.3"]
        with pytest.raises(WrongCertificate):
            asyncio.run(call())
        assert stranger.is_set()


@contextmanager
def stranger_beside(port: int, context: Any) -> Iterator[threading.Event]:
    """Another server on the same port of NOWHERE; the event is set when it was called."""
    called = threading.Event()
    with socket.create_server((NOWHERE, port)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                called.set()
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        assert secured.recv(1) == b""
                except OSError:
                    pass

        threading.Thread(target=answer, daemon=True).start()
        yield called
        server.shutdown(socket.SHUT_RDWR)


def test_a_wrong_token_is_not_shown_to_the_other_addresses(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "ADDRESS_INTERVAL_S", 3600.0)
    names[NAME] = [HERE, NOWHERE]
    with WireServer() as server, socket.create_server((NOWHERE, server.port)) as other:
        server.turn_away = HTTPStatus.UNAUTHORIZED
        with pytest.raises(WrongToken):
            asyncio.run(dial(replace(server.pairing, host=NAME)))
        assert len(server.requests) == 1
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_addresses_are_told_once_each_and_not_without_end(names: dict[str, list[str]]) -> None:
    names[NAME] = [HERE, HERE, *(f"127.0.1.{number}" for number in range(20))]
    found = asyncio.run(addresses_of(NAME, 1))
    assert found[:2] == [HERE, "127.0.1.0"]
    assert len(found) == MOST_ADDRESSES
    assert asyncio.run(addresses_of("::1", 1)) == ["::1"]
    with pytest.raises(OSError, match="no name of the network"):
        asyncio.run(addresses_of("a" * 70, 1))


def test_a_resolver_without_an_answer_does_not_keep_a_link_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, asked = threading.Event(), threading.Semaphore(0)

    def never(*_: object, **__: object) -> None:
        asked.release()
        answered.wait(120)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(dialing, "DIAL_INTERVAL_S", (0.01, 0.02))
    with Spool(tmp_path) as spool:
        with running(Pairing(NAME, 8765, "x" * 20, "ab" * 32), spool) as link:
            # More than the threads of a pool, in which the spool is read as well.
            for _ in range(40):
                assert asked.acquire(timeout=120)
        assert not link._thread.is_alive()
    answered.set()

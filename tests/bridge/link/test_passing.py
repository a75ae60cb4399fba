"""What whoever stands in the receiver's place says for a while does not end a link that was let in once."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest

from bridge.link import dialing
from bridge.spool import Spool
from tests.support.certificates import certificate
from tests.support.fault_proxy import FaultProxy
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "DIAL_INTERVAL_S", (0.05, 0.1))


def said(log: pytest.LogCaptureFixture, words: str) -> set[int]:
    """The levels of what was logged with these words as a reason."""
    return {record.levelno for record in log.records if words in str(vars(record))}


def test_another_certificate_for_a_while_is_said_aloud_and_gets_no_token(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (context, pin), (strange, _) = certificate(tmp_path, "receiver"), certificate(tmp_path, "somebody-in-between")
    with (
        WireServer(tls=context) as server,
        WireServer(tls=strange) as stranger,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        running(replace(server.pairing, port=proxy.port, pin=pin), spool) as link,
    ):
        blobs = append(spool, link, 3)
        wait_until(lambda: link.all_safe, "all is safe")
        proxy.target = ("127.0.0.1", stranger.port)
        proxy.cut()
        before = proxy.accepted
        blobs += append(spool, link, 3)
        wait_until(lambda: proxy.accepted > before + 5, "the stranger was called some times")
        wait_until(lambda: logging.ERROR in said(caplog, "another certificate"), "it is said aloud")
        assert link.refusal is None
        assert stranger.requests == []
        proxy.target = ("127.0.0.1", server.port)
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


@pytest.mark.slow
@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.UPGRADE_REQUIRED])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "pinned"])
def test_a_refusal_after_the_link_stood_does_not_end_it(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: HTTPStatus, tls: bool
) -> None:
    monkeypatch.setattr(dialing, "WRONG_TOKEN_PAUSE_S", 0.2)
    context, pin = certificate(tmp_path, "receiver") if tls else (None, None)
    with WireServer(tls=context) as server, running(replace(server.pairing, pin=pin), spool) as link:
        wait_until(lambda: link.state.connected, "connected")
        server.turn_away = status
        server.vanish()
        server.listen()
        calls = len(server.requests)
        wait_until(lambda: len(server.requests) > calls + 3, "it is called again")
        assert link.refusal is None
        server.turn_away = None
        blobs = append(spool, link, 3)
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_a_right_certificate_seen_makes_another_one_pass_even_before_the_link_stood(
    spool: Spool, tmp_path: Path
) -> None:
    (context, pin), (strange, _) = certificate(tmp_path, "receiver"), certificate(tmp_path, "somebody-in-between")
    with (
        WireServer(tls=context) as server,
        WireServer(tls=strange) as stranger,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
    ):
        server.turn_away = HTTPStatus.SERVICE_UNAVAILABLE
        with running(replace(server.pairing, port=proxy.port, pin=pin), spool) as link:
            wait_until(lambda: bool(server.requests), "the right one has been called")
            proxy.target = ("127.0.0.1", stranger.port)
            before = proxy.accepted
            wait_until(lambda: proxy.accepted > before + 3, "the stranger was called some times")
            assert link.refusal is None


@pytest.mark.slow
def test_whoever_counts_wrong_tokens_is_not_called_with_one_all_the_time(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "WRONG_TOKEN_PAUSE_S", 3600.0)
    with (
        WireServer() as server,
        WireServer() as patient,
        Spool(tmp_path / "other") as other,
        running(patient.pairing, other) as beside,
        running(server.pairing, spool) as link,
    ):
        wait_until(lambda: link.state.connected and beside.state.connected, "both are connected")
        server.turn_away, patient.turn_away = HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE
        for one in (server, patient):
            one.vanish()
            one.listen()
        # The other link, which is not told that its token is wrong, goes on calling: so much time has passed.
        wait_until(lambda: len(patient.requests) > 20, "the other one was called many times")
        # The first that was let in, the first with what is wrong now, and what was under way by then.
        assert len(server.requests) < 8
        assert link.refusal is None

"""The token goes only to a server whose certificate is the pinned one, or one that the system trusts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.link.link import Link
from bridge.spool import Spool
from tests.support.certificates import certificate
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


def final(link: Link) -> str:
    wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    return link.refusal.text


def test_the_pinned_certificate_is_accepted(spool: Spool, tmp_path: Path) -> None:
    context, pin = certificate(tmp_path, "receiver")
    with WireServer(tls=context) as server, running(replace(server.pairing, pin=pin), spool) as link:
        blobs = append(spool, link, 3)
        wait_until(lambda: link.all_safe, "all is safe")
    assert server.stored[spool.stream] == blobs


def test_another_certificate_never_gets_the_token(spool: Spool, tmp_path: Path) -> None:
    _, pin = certificate(tmp_path, "receiver")
    context, _ = certificate(tmp_path, "somebody-in-between")
    with WireServer(tls=context) as server, running(replace(server.pairing, pin=pin), spool) as link:
        text = final(link)
        assert "another certificate" in text
        assert server.pairing.token not in text
    assert server.requests == []


def test_a_certificate_that_the_system_does_not_trust_needs_a_pin(spool: Spool, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path, "receiver")
    with WireServer(tls=context) as server, running(server.pairing, spool) as link:
        assert "no pin" in final(link)
    assert server.requests == []

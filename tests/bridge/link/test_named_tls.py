"""Without a pin, the token goes only to the name whose certificate comes from an authority that this system trusts."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.doctor.cloud import cloud_findings
from bridge.link.link import Link
from bridge.spool import Spool
from tests.support.authority import NAME, Authority, Certified, authority
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from train_cloud.named_certificate import server_context

__all__ = ["authority"]

WRONG: dict[str, tuple[Callable[[Authority, Path], Certified], tuple[str, ...]]] = {
    "expired": (lambda ours, _: ours.certify(NAME, days=(-3, -1)), ("has expired", "has to renew it", "clock")),
    "not yet": (lambda ours, _: ours.certify(NAME, days=(1, 3)), ("is not valid yet", "clock is likely behind")),
    "name": (lambda ours, _: ours.certify("racing.example.org"), ("is for another name", "fresh pairing string")),
    "authority": (
        lambda _, folder: Authority(folder, "Somebody else").certify(NAME),
        ("from an authority that this system does not know", "SSL_CERT_FILE", "fullchain.pem"),
    ),
}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


def serving(made: Certified, folder: Path) -> WireServer:
    return WireServer(tls=server_context(*made.write(folder)))


def refused(link: Link) -> str:
    wait_until(lambda: link.refusal is not None, "the link gives up")
    assert link.refusal is not None
    return link.refusal.text


def test_the_right_name_is_let_hear_the_token(authority: Authority, spool: Spool, tmp_path: Path) -> None:
    with serving(authority.certify(NAME), tmp_path) as server:
        pairing = replace(server.pairing, host=NAME)
        with running(pairing, spool) as link:
            blobs = append(spool, link, 3)
            wait_until(lambda: link.all_safe, "all is safe")
        assert "RECEIVER" in {finding.message.name for finding in cloud_findings(pairing, lambda: False)}
    assert server.stored[spool.stream] == blobs


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_certificate_is_said_and_no_token_is_sent(
    authority: Authority, spool: Spool, tmp_path: Path, what: str
) -> None:
    make, sentences = WRONG[what]
    (tmp_path / "other").mkdir()
    with serving(make(authority, tmp_path / "other"), tmp_path) as server:
        pairing = replace(server.pairing, host=NAME)
        with running(pairing, spool) as link:
            text = refused(link)
        told = {finding.message.name: finding for finding in cloud_findings(pairing, lambda: False)}
    assert set(told) == {"PAIRED", "UNTRUSTED"}
    for words in (*sentences, f"of {NAME} ", "The token was not sent."):
        assert words in text
        assert words in told["UNTRUSTED"].says
    assert server.requests == []


def test_one_that_expires_while_a_bridge_drives_ends_neither_the_drive_nor_the_dialling(
    authority: Authority, spool: Spool, tmp_path: Path
) -> None:
    context = server_context(*authority.certify(NAME).write(tmp_path))
    with (
        WireServer(tls=context) as server,
        running(replace(server.pairing, host=NAME), spool) as link,
    ):
        append(spool, link, 1)
        wait_until(lambda: link.all_safe, "it is let in")
        context.load_cert_chain(*authority.certify(NAME, days=(-3, -1)).write(tmp_path))
        heard, before = len(server.hellos), len(server.requests)
        server.vanish()
        server.listen()
        blobs = append(spool, link, 2)
        wait_until(lambda: not link.state.connected, "the link is down")
        assert link.refusal is None
        assert (len(server.hellos), len(server.requests)) == (heard, before)
        context.load_cert_chain(*authority.certify(NAME).write(tmp_path))
        wait_until(lambda: link.all_safe, "the renewed one is trusted")
        assert link.refusal is None
    assert server.stored[spool.stream][1:] == blobs

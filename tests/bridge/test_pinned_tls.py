"""The token goes only to a server whose certificate is the pinned one, or one that the system trusts."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.link import Link
from bridge.spool import Spool
from tests.support.links import append, running
from tests.support.waiting import wait_until
from tests.support.wire_server import WireServer
from wire.pairing import certificate_pin


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A fresh self-signed certificate in a server's context, and its pin."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, certificate_pin(made.public_bytes(serialization.Encoding.DER))


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

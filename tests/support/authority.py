"""An authority of a test's own, which gives certificates to names; import the fixture `authority` from here."""

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.pinned_https import client_context

NAME = "localhost"
"""The one name that leads to this machine everywhere."""


class Authority:
    """Signs certificates; its own is in the file `pem`, as SSL_CERT_FILE wants it."""

    def __init__(self, folder: Path, name: str = "A test's own authority") -> None:
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named(name)
        builder = _builder(self._name, self._name, self._key, -10, 10)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.pem = folder / "authority.pem"
        self.pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def certify(
        self, *names: str, days: tuple[float, float] = (-1.0, 5.0), alternative: bytes | None = None
    ) -> "Certified":
        """A new certificate for `names`, valid from and until so many days from now.

        `alternative` (DER) stands in place of the names in the extension that has them.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        extension: x509.ExtensionType = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        if alternative is not None:
            extension = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, alternative)
        builder = _builder(_named(names[0]), self._name, key, *days).add_extension(extension, critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = builder.add_extension(issuer, critical=False).sign(self._key, hashes.SHA256())
        return Certified(certificate, key)


class Certified:
    """A certificate and its key, as files want them."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.chain = certificate.public_bytes(serialization.Encoding.PEM)
        self._key = key

    def key(self, passphrase: bytes | None = None) -> bytes:
        """The key in PEM."""
        hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both into `folder`, in place of what is there; their paths."""
        files = folder / "fullchain.pem", folder / "privkey.pem"
        for file, content in zip(files, (self.chain, self.key()), strict=True):
            file.write_bytes(content)
        return files


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that this process and those that it starts trust, and no other."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.pem))
    client_context.cache_clear()
    yield made
    client_context.cache_clear()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: float, ends: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )

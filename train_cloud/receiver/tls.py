"""The receiver's certificate: self-signed, made once, pinned by its SHA-256 in the pairing string; or a user's own.

Key and certificate live in the instance's folder, readable by their owner alone. Nobody has to trust the names in the
certificate: the pin is what a bridge checks. One that an authority gave a name (train_cloud.named_certificate) has no
pin, since it is renewed.
"""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.files import write_private
from train_cloud.named_certificate import NamedCertificate, server_context
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.files import TLS
from wire.pairing import certificate_pin, is_loopback

YEARS_VALID = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """A TLS context for the server and the pin of its certificate (SHA-256 of the DER form, hex), if it is pinned."""

    context: ssl.SSLContext
    pin: str | None


def identity_of(config: RunConfig, folder: Path) -> Identity:
    """What the run's configuration names, else what `load_identity` has. Raises ConfigError, OSError, ssl.SSLError."""
    if config.tls_certificate is None or config.tls_key is None:
        return load_identity(folder, config.public_host)
    named = NamedCertificate(Path(config.tls_certificate), Path(config.tls_key), config.public_host)
    named.keep_looking()
    return Identity(named.context, None)


def load_identity(folder: Path, host: str) -> Identity:
    """The identity in `folder`; made for `host` when there is none. Raises OSError, ssl.SSLError."""
    file = folder / TLS
    if not file.exists():
        write_private(file, new_pem(host))
    return Identity(server_context(file), pin_of(file.read_bytes()))


def pin_of(pem: bytes) -> str:
    """The pin of the first certificate in `pem`. Raises ValueError when there is none."""
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate_pin(certificate.public_bytes(serialization.Encoding.DER))


def new_pem(host: str) -> bytes:
    """A new key and its self-signed certificate, both in PEM; a secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ac-training receiver")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A PC whose clock is behind must not refuse a certificate of this minute.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS_VALID))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    if not is_loopback(host):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names

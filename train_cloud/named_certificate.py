"""A certificate for a name, in two PEM files that somebody else renews: served, and taken anew when they change.

Promises that what cannot be used is refused with a sentence: at the start the process does not begin, later the
certificate before goes on. New files are for new connections; none that stands is cut. A certificate outside its dates
is told loudly and served at the start, since bridges keep what they drive until it is renewed and nothing has to be
started again then; in the place of another it is not taken. No text holds anything of the key.
"""

import hashlib
import logging
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from runtime.logs import fields
from train_cloud.settings import ConfigError

LOOK_SECONDS: Final = 2.0
SAY_AGAIN_SECONDS: Final = 86_400.0
LAST_DAYS: Final = timedelta(days=7)
"""Before its end a certificate is told of for so long, or for a tenth of its life where that is less."""
_READINGS: Final = 3

_log = logging.getLogger(__name__)


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """A server's TLS settings; without `key` the certificate's file holds it, too. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks on the terminal for a passphrase
    return context


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the two files held when they were read."""

    context: ssl.SSLContext
    digest: bytes
    begins: datetime
    ends: datetime

    def problem(self, now: datetime) -> str:
        """What is wrong with its dates; empty while they are right."""
        if now >= self.ends:
            return (
                f"The certificate has expired ({self.ends:%Y-%m-%d %H:%M} UTC), so every bridge refuses it. Renew it; "
                "the new files are taken without a restart."
            )
        if now < self.begins:
            return (
                f"The certificate is valid only from {self.begins:%Y-%m-%d %H:%M} UTC on, so every bridge refuses it. "
                "Is this machine's clock right? If so, take another certificate."
            )
        return ""

    def nearly_over(self, now: datetime) -> bool:
        """Whether its renewal is overdue."""
        return self.ends - now < min(LAST_DAYS, (self.ends - self.begins) / 10)


class NamedCertificate:
    """The certificate in the files `certificate` (its chain behind it) and `key`, which has to name `host`.

    Raises ConfigError with a sentence where they cannot be served at all.
    """

    def __init__(self, certificate: Path, key: Path, host: str) -> None:
        self._certificate, self._key, self._host = certificate, key, host
        self._pair = self._load()
        self._seen: bytes | str = self._pair.digest
        self._refused = self._told = ""
        self._tell_at = 0.0
        self.context = self._pair.context
        """For the server: it shows each new connection what is newest."""
        self.context.sni_callback = self._choose
        self._tell_dates()

    def keep_looking(self, seconds: float = LOOK_SECONDS) -> None:
        """Look at the files every `seconds`, in a thread that ends with the process."""

        def look_on() -> None:
            said = ""
            while True:
                time.sleep(seconds)
                try:
                    self.look()
                except Exception as error:
                    # A thread that has ended would never take a renewed certificate.
                    if repr(error) != said:
                        said = repr(error)
                        _log.exception("the certificate's files could not be looked at; they are looked at again")

        threading.Thread(target=look_on, name="certificate", daemon=True).start()

    def look(self) -> None:
        """Take the files if they changed; only when they were found the same twice, since they may be half written."""
        try:
            there: bytes | str = _digest(self._read())
        except ConfigError as error:
            there = str(error)
        before, self._seen = self._seen, there
        if there != self._pair.digest and there == before:
            self._take()
        self._tell_dates()

    def _choose(self, secured: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        secured.context = self._pair.context

    def _take(self) -> None:
        try:
            pair = self._load()
            if problem := pair.problem(datetime.now(UTC)):
                raise ConfigError(problem)
        except ConfigError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                _log.error("the new certificate is not taken, the one before goes on", extra=fields(reason=error))
            return
        self._pair, self._refused = pair, ""
        _log.info("new connections are shown the new certificate", extra=fields(valid_until=pair.ends.isoformat()))

    def _tell_dates(self) -> None:
        """Say once a day that the certificate is outside its dates, or will be soon."""
        now = datetime.now(UTC)
        problem, level = self._pair.problem(now), logging.ERROR
        if not problem and self._pair.nearly_over(now):
            problem, level = (
                f"The certificate expires on {self._pair.ends:%Y-%m-%d %H:%M} UTC. Renew it.",
                logging.WARNING,
            )
        if problem and (problem != self._told or time.monotonic() >= self._tell_at):
            _log.log(level, problem, extra=fields(file=self._certificate))
            self._tell_at = time.monotonic() + SAY_AGAIN_SECONDS
        self._told = problem

    def _read(self) -> tuple[bytes, bytes]:
        """The content of both files. Raises ConfigError."""
        return _content(self._certificate, "tls_certificate"), _content(self._key, "tls_key")

    def _load(self) -> _Pair:
        """Read and judge both files. Raises ConfigError."""
        for _ in range(_READINGS):
            content = self._read()
            certificate = self._judged(*content)
            try:
                context = server_context(self._certificate, self._key)
            except (OSError, ssl.SSLError) as error:
                reason = getattr(error, "reason", None) or error.strerror
                problem = f"The certificate in {self._certificate} cannot be served ({reason}). Take another one."
            else:
                problem = ""
            # OpenSSL reads files, not bytes: what it has read is what was judged if they are the same before and after.
            if self._read() == content:
                if problem:
                    raise ConfigError(problem)
                begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
                return _Pair(context, _digest(content), begins, ends)
        raise ConfigError(f"{self._certificate} or {self._key} changes all the time, so that it cannot be read.")

    def _judged(self, chain: bytes, key: bytes) -> x509.Certificate:
        """The certificate of these two files. Raises ConfigError."""
        try:
            certificate = x509.load_pem_x509_certificates(chain)[0]
            names = _names(certificate)
        except (ValueError, IndexError):
            raise ConfigError(
                f"{self._certificate} (tls_certificate) holds no certificate in PEM, or only a part of one. It begins "
                "with -----BEGIN CERTIFICATE-----; certbot calls it fullchain.pem."
            ) from None
        except (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise self._unusable(error) from None
        try:
            public = load_pem_private_key(key, None).public_key()
        except TypeError:
            raise ConfigError(
                f"The key in {self._key} (tls_key) is encrypted, and nobody is there to be asked for its passphrase. "
                f"Write it without one: openssl pkey -in {self._key} -out key.pem"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError(
                f"{self._key} (tls_key) holds no private key in PEM, or only a part of one. certbot calls it "
                "privkey.pem."
            ) from None
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        try:
            certified = certificate.public_key().public_bytes(*form)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise self._unusable(error) from None
        if public.public_bytes(*form) != certified:
            raise ConfigError(
                f"The key in {self._key} (tls_key) is that of another certificate than the first one in "
                f"{self._certificate} (tls_certificate). Name the two files that were made together."
            )
        if not any(_covers(name, self._host) for name in names):
            raise ConfigError(
                f"The certificate in {self._certificate} is for {', '.join(names) or 'no name at all'}, not for "
                f"{self._host} (public_host), so every bridge would refuse it. Set public_host to the certificate's "
                "name, or take a certificate for this one."
            )
        return certificate

    def _unusable(self, error: Exception) -> ConfigError:
        return ConfigError(
            f"The certificate in {self._certificate} (tls_certificate) is one that cannot be used here ({error}). Take "
            "another one."
        )


def _content(file: Path, setting: str) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The file {file} ({setting} in run.json) cannot be read ({getattr(error, 'strerror', error)}). Is it "
            "there, and may the user read it who runs this process?"
        ) from None


def _digest(content: tuple[bytes, bytes]) -> bytes:
    return b"".join(hashlib.sha256(part).digest() for part in content)


def _names(certificate: x509.Certificate) -> list[str]:
    """DNS names of the certificate; who calls looks at no other field. Raises what a malformed extension does."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def _covers(name: str, host: str) -> bool:
    """Whether a certificate's `name`, whose first label may be a star, is that of `host` (RFC 9525)."""
    name, host = name.lower(), host.lower().rstrip(".")
    label, dot, rest = host.partition(".")
    return name == host or (name == f"*.{rest}" and bool(label and dot and "." in rest))

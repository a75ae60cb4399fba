"""The pairing string: where a receiver listens, the token it wants and the certificate it shows.

`wss://bridge:TOKEN@HOST:8765/pin-HEX`, where HEX is the SHA-256 of the certificate (DER); letters and digits only where
a shell could bite. The string is a secret: no repr and no error of this module holds the token. Without a pin, the
certificate must be one that the system trusts. Nothing here opens a connection.
"""

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 8765
USER: Final = "bridge"
_TOKEN: Final = re.compile(r"[A-Za-z0-9]{16,128}")
_PIN: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOST: Final = 253
_TOKEN_ALPHABET: Final = string.ascii_letters + string.digits
_EXAMPLE: Final = "wss://bridge:TOKEN@HOST:8765/pin-HEX"


class PairingError(ValueError):
    """A pairing string cannot be used; the text says why, without the token."""


class PinMismatch(Exception):
    """The peer's certificate is not the one that the pairing string names."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """How to reach one receiver; `pin` is the SHA-256 of its certificate in lower-case hex, None without one."""

    host: str
    port: int
    token: str = field(repr=False)
    pin: str | None = None
    tls: bool = True

    @property
    def url(self) -> str:
        """Address to dial, without the token; may be logged."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}/"


def new_token() -> str:
    """A fresh random token of 40 letters and digits (238 bits)."""
    return "".join(secrets.choice(_TOKEN_ALPHABET) for _ in range(40))


def format_pairing(pairing: Pairing) -> str:
    """The pairing string; a secret."""
    scheme, address = pairing.url.split("://", 1)
    pin = f"pin-{pairing.pin}" if pairing.pin else ""
    return f"{scheme}://{USER}:{pairing.token}@{address}{pin}"


def parse_pairing(text: str, allow_plain: bool = False) -> Pairing:
    """Read a pairing string. Raises PairingError, never with the token in its text.

    `ws://` (no encryption: the token and the experience are readable on the way) is accepted towards this machine
    itself, and elsewhere only with `allow_plain`.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PairingError(
            f"The pairing string's address or port cannot be read. It has the form {_EXAMPLE}."
        ) from None
    if parts.scheme not in ("wss", "ws"):
        raise PairingError(f"The pairing string does not begin with wss:// or ws://. It has the form {_EXAMPLE}.")
    if parts.query or parts.fragment:
        raise PairingError("The pairing string goes on after its end: a ? or # does not belong in it.")
    if port == 0:
        raise PairingError(
            "The pairing string's port is 0, at which nobody can listen. Get the string from the receiver."
        )
    tls, token = parts.scheme == "wss", _token(parts.username, parts.password)
    pairing = Pairing(_checked_host(host), DEFAULT_PORT if port is None else port, token, _pin(parts.path), tls)
    if pairing.pin and not tls:
        raise PairingError("The pairing string has a pin but begins with ws://; a pin needs wss://.")
    if not tls and not allow_plain and not is_loopback(pairing.host):
        raise PairingError(
            "The pairing string begins with ws://, which would send the token unencrypted over the network. Use the "
            "wss:// string in the receiver's pairing.txt, or allow plain connections with --allow-plain."
        )
    return pairing


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """Whether `text` can be the host of a pairing string: a name or an address, without a port."""
    return is_address(text) or (len(text) <= _LONGEST_HOST and _HOST.fullmatch(text) is not None)


def _checked_host(host: str | None) -> str:
    if host and is_host(host):
        return str(ipaddress.ip_address(host)) if ":" in host else host
    raise PairingError(f"The pairing string has no valid host. It has the form {_EXAMPLE}.")


def _token(user: str | None, token: str | None) -> str:
    if user != USER or token is None:
        raise PairingError(f"The pairing string has no `{USER}:TOKEN@` before the host. It has the form {_EXAMPLE}.")
    if not _TOKEN.fullmatch(token):
        raise PairingError(
            "The token in the pairing string is not one: a token is 16 to 128 letters and digits. "
            "Was the string cut, or changed by a shell?"
        )
    return token


def _pin(path: str) -> str | None:
    if path in ("", "/"):
        return None
    pin = path.removeprefix("/pin-").lower()
    if not path.startswith("/pin-") or not _PIN.fullmatch(pin):
        raise PairingError(
            "The pairing string's end is not /pin- with 64 hex digits, the certificate's SHA-256. Was the string cut?"
        )
    return pin


def certificate_pin(der: bytes) -> str:
    """The pin of a certificate: SHA-256 of its DER bytes, lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def check_pin(der: bytes, pin: str) -> None:
    """Raise PinMismatch unless the certificate `der` is the one with this pin."""
    shown = certificate_pin(der)
    if not hmac.compare_digest(shown, pin.lower()):
        raise PinMismatch(
            f"The server shows another certificate (sha256 {shown[:16]}...) than the pairing string names "
            f"({pin[:16]}...). Either somebody is in between or the run has a new certificate: get a fresh "
            "pairing string from its owner. The token was not sent."
        )


def basic_auth_header(token: str) -> str:
    """Value of the Authorization header (HTTP Basic, RFC 7617); a secret."""
    return "Basic " + base64.b64encode(f"{USER}:{token}".encode()).decode()


def parse_basic_auth(header: str | None) -> str | None:
    """The token in an Authorization header, or None when there is none for this user."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, token = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return token if user == USER and token else None


def tokens_equal(given: str, expected: str) -> bool:
    """Compare two tokens in a time that depends on neither of them."""
    return hmac.compare_digest(
        hashlib.sha256(given.encode(errors="replace")).digest(),
        hashlib.sha256(expected.encode(errors="replace")).digest(),
    )

"""A plain HTTP question to a server that is known by its certificate's hash, or by an authority that this PC trusts.

What is wrong with a certificate is said in words that tell who has to do what.
"""

import functools
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping

MOST_BYTES = 2**20
"""Of an answer no more is read."""
_EXPIRED, _NOT_YET_VALID, _SELF_SIGNED, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 18, 62, 64
_NOBODY_KNOWN = (2, 19, 20, 21)
"""OpenSSL's numbers: X509_V_ERR_... in openssl/x509_vfy.h."""


@functools.cache
def client_context(pinned: bool) -> ssl.SSLContext:
    """The TLS settings of a client; `pinned` when it checks the certificate itself, before it says anything.

    One for all connections of the process: reading the system's authorities takes some 30 ms, in which nothing else
    runs, not even a control loop in another thread. Who checks a hash reads none. Do not change what is returned.
    """
    if not pinned:
        context = ssl.create_default_context()
    else:
        # A pinned certificate is self-signed: its hash says more than any name or authority.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def untrusted(host: str, port: int, error: ssl.SSLCertVerificationError) -> str:
    """What it means that the system does not trust the certificate shown there, and what to do: sentences."""
    code = error.verify_code
    if code == _EXPIRED:
        text = "has expired. Whoever runs the server has to renew it. Unless this PC's clock is wrong: look at its date"
    elif code == _NOT_YET_VALID:
        text = (
            "is not valid yet. This PC's clock is likely behind: set it. If it is right, whoever runs the server has "
            "to take another certificate"
        )
    elif code in (_OTHER_NAME, _OTHER_ADDRESS):
        text = (
            "is for another name. Dial the name that it is for: get a fresh pairing string from the run's owner. "
            "Otherwise somebody else's server answers there"
        )
    elif code == _SELF_SIGNED:
        text = (
            "is signed by nobody but itself, and the pairing string has no pin. Get the full pairing string (its end "
            "is /pin-...) from the run's owner"
        )
    elif code in _NOBODY_KNOWN:
        text = (
            "comes from an authority that this system does not know. If that is the owner's own, let the variable "
            "SSL_CERT_FILE name a file with its certificate (PEM). If it is a public one, the server's tls_certificate "
            "lacks the certificates in between (fullchain.pem has them), or Windows has not met it yet: open "
            f"https://{host}:{port} in Edge once. Otherwise somebody is in between"
        )
    else:
        text = f"is not one that this system trusts ({error.verify_message}). Whoever runs the server has to mend it"
    return f"The certificate of {host} {text}. The token was not sent."


def get(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str],
    timeout: float,
    check: Callable[[bytes], None] | None = None,
    tls: bool = True,
    address: str | None = None,
) -> tuple[int, str]:
    """Status and text of `GET path`; `headers`, where secrets belong, are sent only when the server was found right.

    `timeout` is of the connection and of each piece of the answer, s. `check` raises unless the server's certificate
    (DER) is the pinned one; None asks the system's authorities whether it is that of `host`. `address` is called in
    place of `host`. Raises OSError and http.client.HTTPException where no answer comes, or none that is HTTP, and what
    `check` raises.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.sock = socket.create_connection((address or host, port), timeout)
        if tls:
            context = client_context(pinned=check is not None)
            secured = connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
            if check is not None:
                check(secured.getpeercert(binary_form=True) or b"")
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES).decode(errors="replace")
    finally:
        connection.close()

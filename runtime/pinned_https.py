"""A plain HTTP question to a server that is known by its certificate's hash instead of by an authority."""

import functools
import http.client
import ssl
from collections.abc import Callable, Mapping

MOST_BYTES = 2**20
"""Of an answer no more is read."""


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


def get(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str],
    timeout: float,
    check: Callable[[bytes], None] | None = None,
    tls: bool = True,
) -> tuple[int, str]:
    """Status and text of `GET path`; `headers`, where secrets belong, are sent only when the server was found right.

    `timeout` is of the connection and of each piece of the answer, s. `check` raises unless the server's certificate
    (DER) is the pinned one; None asks the system's authorities. Raises OSError and http.client.HTTPException where no
    answer comes, or none that is HTTP, and what `check` raises.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    if tls:
        context = client_context(pinned=check is not None)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    try:
        connection.connect()
        if tls and check is not None:
            assert isinstance(connection.sock, ssl.SSLSocket)
            check(connection.sock.getpeercert(binary_form=True) or b"")
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES).decode(errors="replace")
    finally:
        connection.close()

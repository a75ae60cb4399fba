"""A plain HTTPS question to the receiver, by its pinned certificate: is it healthy, and what are its figures?

Promises that the token is sent only after the certificate was found to be the pinned one, and that each question ends
within SECONDS. What goes wrong is a typed answer or a sentence, never the token.
"""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus

from wire.pairing import Pairing, basic_auth_header, check_pin

SECONDS = 5.0
_LONGEST_BYTES = 1_000_000
_FIGURE = re.compile(r"^(ac_training_\w+) (\S+)$", re.MULTILINE)


class Unreachable(Exception):
    """The receiver gave no answer; the text says why and what that usually means."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the text that came with it."""

    status: int
    text: str


def healthz(pairing: Pairing) -> Answer:
    """GET /healthz, without the token: 200 "ok" or 503 with the reason. Raises Unreachable, PinMismatch."""
    return _get(pairing, "/healthz", with_token=False)


def token_accepted(pairing: Pairing) -> bool | None:
    """Whether the receiver takes the pairing's token; None when it does not judge it now (too many wrong ones).

    Raises Unreachable, PinMismatch.
    """
    status = _get(pairing, "/metrics", with_token=True).status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return None
    return status != HTTPStatus.UNAUTHORIZED


def metrics(pairing: Pairing) -> dict[str, float]:
    """The receiver's figures by name, without the prefix ac_training_. Raises Unreachable, PinMismatch."""
    answer = _get(pairing, "/metrics", with_token=True)
    if answer.status != HTTPStatus.OK:
        raise Unreachable(f"the receiver answered {answer.status}: {answer.text.strip()[:200]}")
    return {name.removeprefix("ac_training_"): float(value) for name, value in _FIGURE.findall(answer.text)}


def _get(pairing: Pairing, path: str, with_token: bool) -> Answer:
    connection = _connection(pairing)
    try:
        connection.connect()
        if pairing.tls and pairing.pin is not None:
            assert isinstance(connection.sock, ssl.SSLSocket)
            check_pin(connection.sock.getpeercert(binary_form=True) or b"", pairing.pin)
        headers = {"Authorization": basic_auth_header(pairing.token)} if with_token else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read(_LONGEST_BYTES).decode(errors="replace"))
    except ConnectionRefusedError:
        raise Unreachable("connection refused: the instance is there, but its receiver does not listen yet") from None
    except TimeoutError:
        raise Unreachable(
            "no answer (timeout): is this PC's public address within home_cidrs in terraform.tfvars? Or the instance "
            "has not claimed its address yet"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"no connection ({error})") from None
    finally:
        connection.close()


def _connection(pairing: Pairing) -> http.client.HTTPConnection:
    if not pairing.tls:
        return http.client.HTTPConnection(pairing.host, pairing.port, timeout=SECONDS)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pairing.pin is not None:
        # A pinned certificate is self-signed: its hash, checked before anything is sent, says more than any authority.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(pairing.host, pairing.port, timeout=SECONDS, context=context)

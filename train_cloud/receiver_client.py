"""A plain HTTPS question to the receiver, by its certificate: is it healthy, and what are its figures?

Promises that the token is sent only after the certificate was found to be the pinned one, or, without a pin, that of an
authority which this system trusts, and that each question ends within SECONDS. What goes wrong is a typed answer or a
sentence, never the token.
"""

import http.client
import re
import ssl
from functools import partial
from http import HTTPStatus

from runtime import pinned_https
from train_cloud.run_folder.states import FIGURES_PREFIX
from wire.pairing import Pairing, basic_auth_header, check_pin

SECONDS = 5.0
_FIGURE = re.compile(rf"^{FIGURES_PREFIX}(\w+) (\S+)$", re.MULTILINE)


class Unreachable(Exception):
    """The receiver gave no answer; the text says why and what that usually means."""


def healthz(pairing: Pairing) -> tuple[int, str]:
    """Status and text of GET /healthz, without the token: 200 "ok" or 503 with the reason.

    Raises Unreachable, PinMismatch.
    """
    return _get(pairing, "/healthz", with_token=False)


def token_accepted(pairing: Pairing) -> bool | None:
    """Whether the receiver takes the pairing's token; None when it does not judge it now (too many wrong ones).

    Raises Unreachable, PinMismatch.
    """
    status, _ = _get(pairing, "/metrics", with_token=True)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return None
    return status != HTTPStatus.UNAUTHORIZED


def metrics(pairing: Pairing, address: str | None = None) -> dict[str, float]:
    """The receiver's figures by name, without their prefix; `address` is called in place of the pairing's host.

    Raises Unreachable, PinMismatch.
    """
    status, text = _get(pairing, "/metrics", with_token=True, address=address)
    if status != HTTPStatus.OK:
        raise Unreachable(f"the receiver answered {status}: {text.strip()[:200]}")
    return {name: float(value) for name, value in _FIGURE.findall(text)}


def _get(pairing: Pairing, path: str, with_token: bool, address: str | None = None) -> tuple[int, str]:
    headers = {"Authorization": basic_auth_header(pairing.token)} if with_token else {}
    check = None if pairing.pin is None else partial(check_pin, pin=pairing.pin)
    try:
        return pinned_https.get(pairing.host, pairing.port, path, headers, SECONDS, check, pairing.tls, address)
    except ConnectionRefusedError:
        raise Unreachable("connection refused: the instance is there, but its receiver does not listen yet") from None
    except TimeoutError:
        raise Unreachable(
            "no answer (timeout): is this PC's public address within home_cidrs in terraform.tfvars? Or the instance "
            "has not claimed its address yet"
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(pinned_https.untrusted(pairing.host, pairing.port, error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"no connection ({error})") from None

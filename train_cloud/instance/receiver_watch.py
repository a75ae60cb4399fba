"""What the receiver says of itself: bridges connected and steps stored, asked on loopback.

The token is sent only after the certificate proved to be the one in tls.pem. No call takes longer than a few seconds,
and a receiver that is not there, or not well, is no error: there is just no answer.
"""

import http.client
import re
import ssl
from pathlib import Path

import msgspec

from train_cloud.receiver.tls import pin_of
from wire.pairing import PinMismatch, basic_auth_header, check_pin

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 2**20
BRIDGES, STORED_STEPS = "ac_training_bridges", "ac_training_stored_steps"


class Activity(msgspec.Struct, frozen=True):
    """Bridges connected now, and environment steps stored over the whole life of the run."""

    bridges: int
    stored_steps: int


def ask_receiver(port: int, tls_pem: Path, token_file: Path) -> Activity | None:
    """The receiver's figures, None when it gives none now."""
    try:
        pin = pin_of(tls_pem.read_bytes())
        token = token_file.read_text(encoding="ascii").strip()
        text = _get_metrics(port, pin, token)
        return Activity(int(_metric(text, BRIDGES)), int(_metric(text, STORED_STEPS)))
    except (OSError, http.client.HTTPException, PinMismatch, ValueError):
        return None


def _get_metrics(port: int, pin: str, token: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who we talk to is told by the pin below, not by names and authorities.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.connect()
        shown = connection.sock.getpeercert(binary_form=True)
        check_pin(shown or b"", pin)
        connection.request("GET", "/metrics", headers={"Authorization": basic_auth_header(token)})
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        return answer.read(MAX_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()


def _metric(text: str, name: str) -> float:
    """The metric's value in Prometheus' text format. Raises ValueError when it is not there."""
    found = re.search(rf"^{name}[ \t]+(\S+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no metric {name}")
    return float(found[1])

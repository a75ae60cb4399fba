"""The certificate of a domain name: ordered once, kept in SSM, renewed in time, and put where the receiver looks.

It is kept over replacements and runs, with the account that ordered it, so that an instance asks the authority only
when nothing is there or a third of its time is left. An authority that fails costs nothing that works: a certificate
that is valid is used until its end, and without one the instance shows its own, which the pairing string pins.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography import x509

from runtime.files import write_private
from runtime.logs import fields
from runtime.retry import retry
from train_cloud.instance.clients import ParameterError, aws_client, read_parameter, write_parameter
from train_cloud.instance.config import Deployment
from train_cloud.run_folder.files import CERTIFICATE, CERTIFICATE_KEY
from train_cloud.run_folder.states import UNSET

ORDER_SECONDS: Final = 120.0
LEFT_SHARE: Final = 1 / 3
"""Of a certificate's time; with so much left it is renewed."""

_log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What the parameter holds, as JSON; a secret. Keys and chain are PEM, `directory` is the authority's URL."""

    name: str
    directory: str
    account_key: str
    key: str
    chain: str

    def left(self, now: datetime) -> float:
        """Which share of its time is left; 0 or less when it has expired. Raises ValueError for no certificate."""
        certificate = x509.load_pem_x509_certificate(self.chain.encode())
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return (ends - now) / (ends - begins)


def take_certificate(deployment: Deployment, ssm: Any, patience_seconds: float) -> bool:
    """Have the name's certificate in the instance's folder, ordered if it must be; whether a valid one is there.

    Raises ParameterError where the parameter cannot be read, OSError.
    """
    config = deployment.config
    if config.certificate_parameter is None:
        return False
    parameter, name = config.certificate_parameter, deployment.run.public_host
    kept = _parsed(retry(lambda: read_parameter(ssm, parameter), ParameterError, patience_seconds))
    usable = kept if kept is not None and kept.name == name and kept.left(datetime.now(UTC)) > 0.0 else None
    if usable is None or usable.left(datetime.now(UTC)) < LEFT_SHARE:
        usable = _ordered(deployment, name, kept, ssm, parameter, patience_seconds) or usable
    if usable is None:
        return False
    # The dashboard, which is in the same group, shows it, too. The key first: a receiver that looks between both
    # refuses the pair, and looks again.
    write_private(deployment.folder / CERTIFICATE_KEY, usable.key.encode(), mode=0o640)
    write_private(deployment.folder / CERTIFICATE, usable.chain.encode(), mode=0o640)
    return True


def renew_certificate(deployment: Deployment, ssm: Any, patience_seconds: float) -> None:
    """What the timer does: as `take_certificate`, and say so where the receiver began without a certificate."""
    if take_certificate(deployment, ssm, patience_seconds) and deployment.run.tls_certificate is None:
        _log.warning(
            "there is a certificate for the name now, but bridges were paired with the run's own, which every "
            "replacement goes on with: `make stop`, `make start` and a new pairing string (`make pair`) change over",
            extra=fields(name=deployment.run.public_host),
        )


def _parsed(text: str) -> Kept | None:
    """What is kept; None where nothing is, or nothing that can be read."""
    if text.strip() == UNSET:
        return None
    try:
        kept = msgspec.json.decode(text, type=Kept)
        kept.left(datetime.now(UTC))
    except (msgspec.MsgspecError, ValueError):
        _log.error("the parameter holds no certificate; a new one is ordered")
        return None
    return kept


def _ordered(
    deployment: Deployment, name: str, kept: Kept | None, ssm: Any, parameter: str, patience_seconds: float
) -> Kept | None:
    """A new certificate, kept; None where the authority gives none, which is said."""
    # Half a second of imports that no other instance needs.
    from train_cloud.instance.acme_order import OrderError, order_certificate

    config = deployment.config
    account = kept.account_key if kept is not None and kept.directory == config.acme_directory else None
    zone = config.route53_zone_id
    assert zone is not None, "load_instance_config wants both or neither"
    try:
        route53 = aws_client("route53", config.region)
        issued = order_certificate(config.acme_directory, name, account, route53, zone, ORDER_SECONDS)
    except OrderError as error:
        _log.error(
            "no new certificate for the name; what is valid goes on, without one the pairing string has a pin, and the "
            "timer tries again",
            extra=fields(name=name, reason=error),
        )
        return None
    new = Kept(name, config.acme_directory, issued.account_key, issued.key, issued.chain)
    text = msgspec.json.encode(new).decode()
    try:
        retry(lambda: write_parameter(ssm, parameter, text, secret=True, large=True), ParameterError, patience_seconds)
    except ParameterError as error:
        _log.error("the new certificate is not kept: the next instance orders another", extra=fields(reason=error))
    _log.info("there is a new certificate for the name", extra=fields(name=name, new_account=account is None))
    return new

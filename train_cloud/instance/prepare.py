"""Makes an instance ready to be found: its run.json, the identity that the pairing string pins, its address.

The TLS identity is made once in a run's life and kept in SSM, so that a replacement shows the same pin; with a domain
name whose zone is ours, an authority's certificate takes its place, and there is no pin. Unless bridges may have been
paired with a pin before: they keep it until `make stop` and `make start` ask for new pairings. Every step may
be done again: a second `prepare` repairs. What must be there for bridges to connect raises PrepareError; a bucket
that takes no copy of run.json is only reported.
"""

import logging
import ssl
from pathlib import Path
from typing import Any

import msgspec

from runtime.files import write_private
from runtime.logs import fields
from runtime.retry import retry
from train_cloud.instance.certificate import take_certificate
from train_cloud.instance.clients import ParameterError, read_parameter, write_parameter
from train_cloud.instance.config import Deployment
from train_cloud.instance.metadata import Metadata, MetadataError
from train_cloud.object_store import ObjectStoreError, ObjectStoreUnavailable
from train_cloud.receiver.tls import load_identity, new_pem
from train_cloud.run_folder.endpoint import Endpoint
from train_cloud.run_folder.files import CERTIFICATE, CERTIFICATE_KEY, RUN_CONFIG, TLS
from train_cloud.run_folder.states import UNSET

_log = logging.getLogger(__name__)


class PrepareError(Exception):
    """Bridges could not find this instance; the text is a sentence."""


def prepare(deployment: Deployment, terraform_run: Path, ssm: Any, metadata: Metadata, patience_seconds: float) -> None:
    """Do everything; `terraform_run` is Terraform's run.json. Raises PrepareError, ParameterError, OSError."""
    fixed = deployment.config.endpoint_mode == "eip"
    published = deployment.config.published_address
    host = deployment.run.public_host if fixed else _patient_metadata(metadata, published, patience_seconds)
    settings = msgspec.json.decode(terraform_run.read_bytes())
    # Only what Terraform could not know is added: the rest of the file stays as the user wrote it.
    settings |= {"public_host": host}
    pin = _take_identity(deployment, host, ssm, patience_seconds)
    if not _is_pinned(deployment, host, ssm, patience_seconds) and take_certificate(deployment, ssm, patience_seconds):
        files = {"tls_certificate": CERTIFICATE, "tls_key": CERTIFICATE_KEY}
        settings |= {setting: str(deployment.folder / file) for setting, file in files.items()}
        pin = None
    run = msgspec.json.encode(settings)
    write_private(deployment.folder / RUN_CONFIG, run)
    endpoint = Endpoint(
        host=host,
        port=deployment.run.listen_port,
        pin=pin,
        instance_id=_patient_metadata(metadata, "instance-id", patience_seconds),
        run_id=deployment.run.run_id,
    )
    text = msgspec.json.encode(endpoint).decode()
    name = deployment.config.endpoint_parameter
    retry(lambda: write_parameter(ssm, name, text, secret=False), ParameterError, patience_seconds)
    _log.info("the instance can be found", extra=fields(host=host, port=endpoint.port, pin=(pin or "none")[:16]))
    try:
        # Beside the run's checkpoints, for whoever goes on with them by hand.
        retry(lambda: deployment.objects.put(RUN_CONFIG, run), ObjectStoreUnavailable, patience_seconds)
    except ObjectStoreError as error:
        _log.error("the bucket has no copy of run.json", extra=fields(problem=error))


def _patient_metadata(metadata: Metadata, path: str, patience_seconds: float) -> str:
    try:
        return retry(lambda: metadata.need(path), MetadataError, patience_seconds)
    except MetadataError as error:
        hint = " Is the subnet a public one?" if path in ("public-ipv4", "ipv6") else ""
        raise PrepareError(f"{error} Bridges could not find this instance.{hint}") from error


def _is_pinned(deployment: Deployment, host: str, ssm: Any, patience_seconds: float) -> bool:
    """Whether the instance before told bridges at `host` a pin, which those that were paired with it hold on to."""
    if deployment.config.certificate_parameter is None:
        return False
    name = deployment.config.endpoint_parameter
    text = retry(lambda: read_parameter(ssm, name), ParameterError, patience_seconds)
    try:
        before = msgspec.json.decode(text, type=Endpoint)
    except msgspec.MsgspecError:
        return False
    return before.host == host and before.pin is not None


def _take_identity(deployment: Deployment, host: str, ssm_client: Any, patience_seconds: float) -> str | None:
    """Put the run's key and certificate into tls.pem, made now when no life made them before; the pin."""
    name, file = deployment.config.tls_parameter, deployment.folder / TLS
    kept = retry(lambda: read_parameter(ssm_client, name), ParameterError, patience_seconds)
    if kept.strip() != UNSET:
        write_private(file, kept.encode())
        try:
            return load_identity(deployment.folder, host).pin
        except (ssl.SSLError, ValueError):
            _log.error(
                "the parameter holds no key and certificate; new ones are made, so bridges need a new pairing string",
                extra=fields(parameter=name),
            )
    pem = new_pem(host)
    # Kept first: a certificate that only this instance knew would change with its replacement.
    retry(lambda: write_parameter(ssm_client, name, pem.decode(), secret=True), ParameterError, patience_seconds)
    write_private(file, pem)
    return load_identity(deployment.folder, host).pin

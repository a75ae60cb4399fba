"""The instance's secrets: from SSM parameters to files that only their owner can read, in a folder that the boot ends.

The bridge token is needed; without a W&B key the training goes on and says so. A role that is not known everywhere yet
is given time. No value ever stands in an error or in the log.
"""

import logging
from pathlib import Path
from typing import Any

from runtime.files import write_private
from runtime.logs import fields
from runtime.retry import retry
from train_cloud.instance.clients import ParameterError, read_parameter
from train_cloud.instance.config import InstanceConfig
from train_cloud.run_folder.files import DASHBOARD_TOKEN, TOKEN, WANDB_KEY
from train_cloud.run_folder.states import UNSET
from wire.pairing import Pairing, PairingError, format_pairing, parse_pairing

_log = logging.getLogger(__name__)


def fetch_secrets(config: InstanceConfig, ssm: Any, run_folder: Path, patience_seconds: float) -> None:
    """Write `token`, `dashboard_token` and `wandb_key` into `run_folder`, the latter two empty where there is none.

    Raises ParameterError, OSError.
    """
    token = retry(lambda: read_token(config, ssm), ParameterError, patience_seconds)
    write_private(run_folder / TOKEN, token.encode())
    write_private(run_folder / DASHBOARD_TOKEN, _dashboard_token(config, ssm, patience_seconds).encode())
    write_private(run_folder / WANDB_KEY, _wandb_key(config, ssm, patience_seconds).encode())
    _log.info("the secrets are in place", extra=fields(folder=run_folder))


def rotate_token(config: InstanceConfig, ssm: Any, run_folder: Path) -> bool:
    """Take over a token that was changed in SSM; whether it was. Raises ParameterError, OSError."""
    token = read_token(config, ssm).encode()
    file = run_folder / TOKEN
    if file.exists() and file.read_bytes() == token:
        return False
    write_private(file, token)
    _log.info("the bridge token was changed; bridges need a new pairing string")
    return True


def read_token(config: InstanceConfig, ssm: Any) -> str:
    """The bridge token that SSM holds now; a secret. Raises ParameterError."""
    name = config.token_parameter
    token = read_parameter(ssm, name).strip()
    if token == UNSET:
        raise ParameterError(f"The parameter {name} holds no bridge token yet. `make rotate-token` makes one.")
    try:
        return parse_pairing(format_pairing(Pairing("localhost", 1, token))).token
    except PairingError:
        raise ParameterError(
            f"The parameter {name} holds no bridge token: a token is 16 to 128 letters and digits. "
            "`make rotate-token` makes one."
        ) from None


def _dashboard_token(config: InstanceConfig, ssm: Any, patience_seconds: float) -> str:
    name = config.dashboard_parameter
    if name is None:
        return ""
    try:
        return retry(lambda: read_parameter(ssm, name), ParameterError, patience_seconds).strip()
    except ParameterError as error:
        _log.error("nobody will get into the dashboard; the training goes on", extra=fields(problem=error))
        return ""


def _wandb_key(config: InstanceConfig, ssm: Any, patience_seconds: float) -> str:
    name = config.wandb_parameter
    if name is None:
        return ""
    try:
        key = retry(lambda: read_parameter(ssm, name), ParameterError, patience_seconds).strip()
    except ParameterError as error:
        problem = str(error)
    else:
        if key != UNSET:
            return key
        problem = f"The parameter {name} holds no key: it was never given; give it to `terraform apply`."
    _log.error("the training goes on without Weights & Biases", extra=fields(problem=problem))
    return ""

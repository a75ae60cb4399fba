"""boto3 clients for everything but S3, and parameters of SSM with errors in sentences.

A call makes one attempt and ends within train_cloud.object_store.CALL_SECONDS; whoever must not give up retries (a new
role takes a while until every service knows it, so a refusal may be worth a second try, too). No error holds a
parameter's value.
"""

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from train_cloud.object_store import CONNECT_SECONDS, READ_SECONDS


class ParameterError(Exception):
    """A parameter could not be read or written; the text is a sentence."""


def aws_client(service: str, region: str) -> Any:
    """A boto3 client: one attempt a call, short timeouts; AWS_ENDPOINT_URL is honoured as boto3 does by itself."""
    settings = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1})
    return boto3.client(service, region_name=region, config=settings)  # type: ignore[call-overload]  # the stubs want a literal service


def read_parameter(ssm: Any, name: str) -> str:
    """The parameter's value, decrypted. Raises ParameterError."""
    try:
        return str(ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    except (BotoCoreError, ClientError) as error:
        raise _explained(error, "read", name) from error


def write_parameter(ssm: Any, name: str, value: str, *, secret: bool, large: bool = False) -> None:
    """Replace the parameter's value; a `large` one may have 8 KiB instead of 4, at 0.05 US dollars a month.

    Raises ParameterError.
    """
    kind, tier = "SecureString" if secret else "String", {"Tier": "Intelligent-Tiering"} if large else {}
    try:
        ssm.put_parameter(Name=name, Value=value, Type=kind, Overwrite=True, **tier)
    except (BotoCoreError, ClientError) as error:
        raise _explained(error, "write", name) from None


def _explained(error: BotoCoreError | ClientError, doing: str, name: str) -> ParameterError:
    what = f"The parameter {name} could not be {'written' if doing == 'write' else doing}"
    if not isinstance(error, ClientError):
        return ParameterError(f"{what}: Parameter Store did not answer ({type(error).__name__}).")
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    if code == "ParameterNotFound":
        return ParameterError(f"{what}: there is none of that name. `terraform apply` makes it.")
    if code in ("AccessDeniedException", "AccessDenied"):
        needed = "ssm:GetParameter" if doing == "read" else "ssm:PutParameter"
        return ParameterError(f"{what}: the instance's role is denied. It needs {needed} on it (terraform/iam.tf).")
    return ParameterError(f"{what}: Parameter Store answered {code}.")

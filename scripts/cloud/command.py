"""What every operator's command does the same way: its option for the deployment, its exit codes, its errors in words.

Promises that whatever a user can cause ends with a sentence on standard error and a code of ExitCode, and that no
sentence holds a secret: AWS's own words are quoted by code only, never with a request's content.
"""

import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from runtime.exit_codes import ExitCode
from runtime.logs import printable
from scripts.cloud.aws import Cloud
from scripts.cloud.deployment import OperatorError
from train_cloud.object_store import ObjectStoreError

DeploymentFile = Annotated[
    Path | None,
    typer.Option(
        "--deployment",
        envvar="AC_DEPLOYMENT",
        help="JSON of Terraform's output `deployment`, for a PC without Terraform; default: ask Terraform.",
    ),
]

_SIGN_IN = "Sign in again (`aws sso login`, or new keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
_REFUSALS: list[tuple[str, str, ExitCode]] = [
    (
        "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired",
        f"The AWS credentials of this PC have expired ({{code}}). {_SIGN_IN} and try again.",
        ExitCode.USAGE,
    ),
    (
        "InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch InvalidAccessKeyId AuthFailure "
        "IncompleteSignature",
        f"AWS does not know the credentials of this PC ({{code}}). {_SIGN_IN}; a wrong clock gives this too.",
        ExitCode.USAGE,
    ),
    (
        "AccessDenied AccessDeniedException UnauthorizedOperation Forbidden 403",
        "AWS does not let these credentials do {doing} ({code}). Use those of an administrator of the deployment, the "
        "same as for `terraform apply`.",
        ExitCode.REFUSED,
    ),
]
"""AWS's codes, and what they mean with the exit code."""
_REFUSED = "AWS answered {doing} with {code}. Try again; if it stays so, look at the console."


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run one of the app's commands, as the command line's arguments (or these) say, and return its exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Into a file or a pipe, Windows writes the code page of the country: what it lacks must not end a command.
        sys.stdout.reconfigure(errors="replace")
    try:
        app(arguments)
        return ExitCode.OK
    except SystemExit as ended:
        return int(ended.code or 0)
    except BrokenPipeError:
        # Whoever read us has had enough; what is left to say has nowhere to go.
        sys.stdout = None
        return ExitCode.OK
    except OperatorError as error:
        text, code = str(error), error.code
    except ObjectStoreError as error:
        text, code = _told_of_the_bucket(error)
    except (BotoCoreError, ClientError) as error:
        text, code = told(error)
    note(text)
    return code


def _told_of_the_bucket(error: ObjectStoreError) -> tuple[str, ExitCode]:
    """The bucket's own sentence, unless it is this PC's credentials that are to blame."""
    cause = error.__cause__
    if isinstance(cause, (BotoCoreError, ClientError)) and told(cause)[1] == ExitCode.USAGE:
        return told(cause)
    if isinstance(cause, ClientError) and cause.response.get("Error", {}).get("Code") == "NoSuchBucket":
        return (
            "The deployment's bucket does not exist (any more): it was destroyed, or these credentials belong to "
            "another account. `terraform -chdir=terraform apply` makes an empty one.",
            ExitCode.STORAGE,
        )
    return str(error), ExitCode.STORAGE


def told(error: BotoCoreError | ClientError) -> tuple[str, ExitCode]:
    """What boto3's error means, as a sentence that holds no secret, and the exit code that goes with it."""
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)):
        return f"No AWS credentials were found on this PC. {_SIGN_IN} and try again.", ExitCode.USAGE
    if isinstance(error, (boto.SSOTokenLoadError, boto.UnauthorizedSSOTokenError, boto.TokenRetrievalError)):
        return f"The AWS sign-in of this PC has expired. {_SIGN_IN} and try again.", ExitCode.USAGE
    if isinstance(error, boto.ProfileNotFound):
        return "AWS_PROFILE names a profile that this PC does not have. Mend it or unset it.", ExitCode.USAGE
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        known = (one[1:] for one in _REFUSALS if code in one[0].split())
        text, exit_code = next(known, (_REFUSED, ExitCode.FAILED))
        return text.format(code=code, doing=error.operation_name), exit_code
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        return (
            f"AWS cannot be reached from this PC ({type(error).__name__}). Look after the network (a proxy? a VPN?) "
            "and try again.",
            ExitCode.FAILED,
        )
    return f"The AWS library could not do its work ({type(error).__name__}). Check the AWS settings.", ExitCode.FAILED


def note(text: str) -> None:
    """Tell the person something beside the command's outcome: on standard error."""
    print(printable(text, keep="\n"), file=sys.stderr, flush=True)


def note_other_run(cloud: Cloud) -> None:
    """Tell when the instance works for another run than the one that a command reads in the bucket.

    Rights to that bucket are all that such a command needs: without an answer of AWS nothing is told.
    """
    with suppress(OperatorError, BotoCoreError, ClientError):
        if problem := cloud.other_run(cloud.group().instance):
            note(problem)

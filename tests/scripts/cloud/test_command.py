"""What can go wrong before an operator's command begins is a sentence without a secret, from make as from Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, NoCredentialsError, SSOTokenLoadError

from runtime.exit_codes import ExitCode
from scripts.cloud.cli import app
from scripts.cloud.command import told
from tests.support.aws_server import environment
from tests.support.operated import BUCKET, Operated, operated
from tests.support.tools import need_tools

__all__ = ["operated"]

ROOT = Path(__file__).parents[3]
SECRET = "AQoDYXdzEJr1K"
OPERATOR = (
    "pair",
    "dashboard-link",
    "logs",
    "start",
    "stop",
    "status",
    "fetch",
    "report",
    "cost",
    "rotate-token",
    "leftovers",
)


def refused(code: str) -> ClientError:
    """AWS's refusal, with a text that quotes what it should not."""
    return ClientError({"Error": {"Code": code, "Message": f"the token {SECRET} is bad"}}, "GetParameter")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (NoCredentialsError(), ExitCode.USAGE, "No AWS credentials were found"),
        (SSOTokenLoadError(error_msg=SECRET), ExitCode.USAGE, "sign-in of this PC has expired"),
        (refused("ExpiredToken"), ExitCode.USAGE, "have expired (ExpiredToken)"),
        (refused("ExpiredTokenException"), ExitCode.USAGE, "aws sso login"),
        (refused("InvalidClientTokenId"), ExitCode.USAGE, "does not know the credentials"),
        (refused("AccessDeniedException"), ExitCode.REFUSED, "do GetParameter (AccessDeniedException)"),
        (refused("InternalError"), ExitCode.FAILED, "answered GetParameter with InternalError"),
        (ConnectTimeoutError(endpoint_url=f"https://{SECRET}"), ExitCode.FAILED, "cannot be reached"),
    ],
)
def test_boto3s_errors_become_sentences(error: BotoCoreError | ClientError, code: ExitCode, part: str) -> None:
    text, told_code = told(error)
    assert (told_code, part in text) == (code, True), text
    assert SECRET not in text


def module(operated: Operated, name: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run `ac-train NAME` with nothing but the stand-in for AWS in its environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "AC_"))}
    kept |= environment(operated.server.endpoint_url) | {"AC_DEPLOYMENT": str(operated.file)} | changes
    return subprocess.run(
        [sys.executable, "-m", "scripts.cloud", name],
        env={key: value for key, value in kept.items() if value},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_without_credentials_nothing_is_done(operated: Operated) -> None:
    nowhere = str(operated.folder / "none")
    files = {"AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_CONFIG_FILE": nowhere}
    done = module(operated, "start", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", **files)
    assert (done.returncode, done.stdout, operated.desired) == (ExitCode.USAGE, "", 0)
    assert done.stderr.startswith("No AWS credentials were found on this PC. Sign in again")
    assert "Traceback" not in done.stderr


def test_missing_credentials_are_told_as_such_where_only_the_bucket_is_asked(operated: Operated) -> None:
    nowhere = str(operated.folder / "none")
    files = {"AWS_SHARED_CREDENTIALS_FILE": nowhere, "AWS_CONFIG_FILE": nowhere}
    done = module(operated, "fetch", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", **files)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith("No AWS credentials were found on this PC.")


def test_a_code_page_that_lacks_a_sign_does_not_end_a_command(operated: Operated) -> None:
    operated.ship_log("i-0aaaaaaaaaaaaaaaa", "20261121T100000Z", "Created symlink a \N{RIGHTWARDS ARROW} b.")
    done = module(operated, "logs", PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stdout) == (ExitCode.OK, "Created symlink a ? b.\n"), done.stderr


@pytest.mark.slow
def test_a_bucket_that_is_gone_is_told_in_the_operators_words(operated: Operated) -> None:
    operated.server.client("s3").delete_bucket(Bucket=BUCKET)
    done = module(operated, "fetch")
    assert (done.returncode, done.stdout) == (ExitCode.STORAGE, "")
    assert done.stderr.startswith("The deployment's bucket does not exist (any more): it was destroyed, or")


@pytest.mark.slow
def test_the_environment_carries_the_options(operated: Operated) -> None:
    done = module(operated, "status", AC_JSON="1")
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stdout.startswith('{\n  "run_id": "lap-1"')


def test_none_of_the_commands_needs_torch() -> None:
    heavy = "{'torch', 'stable_baselines3', 'websockets', 'cryptography', 'matplotlib'}"
    # An operator's PC has no pyOpenSSL, which an instance orders certificates with; boto3 takes it where it is.
    alone = "import sys; sys.modules['OpenSSL'] = None; import scripts.cloud.cli"
    code = f"{alone}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[]\n"


def test_ac_train_and_make_know_the_same_commands() -> None:
    known: Any = typer.main.get_command(app)
    assert sorted(known.commands) == sorted(OPERATOR)


def make(target: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Call make with `env` in the place of the Python that would work: it tells what it was given."""
    need_tools("make")
    command = ["make", "--no-print-directory", "PYTHON=true", "PY=env #", target, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def given_by(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("AC_"))


@pytest.mark.parametrize("target", OPERATOR)
def test_make_hands_the_options_over(target: str) -> None:
    options = ["DEPLOYMENT=my file.json", "WAIT=3", "JSON=1", "TAIL=5", "FOLLOW=1", "TO=a folder", "BUDGET=7"]
    options.append("OUTPUT=a folder")
    given = given_by(make(target, *options))
    assert given["AC_DEPLOYMENT"] == "my file.json"
    assert given["AC_WAIT_MINUTES"] == "3"
    own = {
        "status": {"AC_JSON": "1"},
        "logs": {"AC_TAIL": "5", "AC_FOLLOW": "1"},
        "fetch": {"AC_TO": "a folder"},
        "report": {"AC_OUTPUT": "a folder"},
        "cost": {"AC_BUDGET": "7"},
    }
    assert own.get(target, {}).items() <= given.items()


@pytest.mark.parametrize("target", OPERATOR)
def test_a_run_of_ones_own_is_named_by_its_file_where_that_can_be(target: str) -> None:
    done = make(target, "RUN=my run.json")
    if target in ("status", "logs", "fetch", "report", "stop", "pair", "dashboard-link"):
        assert given_by(done)["AC_RUN_FILE"] == "my run.json"
    else:
        # What starts or costs is the cloud's run alone.
        assert done.returncode == ExitCode.USAGE
        assert (
            f"make {target} is for the cloud's run; RUN= goes with status logs fetch report stop pair dashboard-link"
            in done.stderr
        )

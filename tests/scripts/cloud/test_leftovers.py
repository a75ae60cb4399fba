"""`make leftovers` touches nothing that is another's or Terraform's, and claims nothing that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.leftovers import leftovers
from tests.support.aws_server import REGION, AwsServer, environment
from tests.support.operated import NAME, Operated, operated

__all__ = ["operated"]

HERE = ("--region", REGION)


def allocated(operated: Operated, project: str, by: str = "terraform") -> str:
    """An address with these tags; its id."""
    ec2 = operated.server.client("ec2")
    allocation = str(ec2.allocate_address(Domain="vpc")["AllocationId"])
    ec2.create_tags(
        Resources=[allocation], Tags=[{"Key": "Project", "Value": project}, {"Key": "ManagedBy", "Value": by}]
    )
    return allocation


def addresses(operated: Operated) -> set[str]:
    return {one["AllocationId"] for one in operated.server.client("ec2").describe_addresses()["Addresses"]}


@pytest.mark.slow
def test_what_is_lost_is_listed_and_ended_on_a_word_and_nothing_else(operated: Operated) -> None:
    lost = allocated(operated, "ac-lost")
    kept = {allocated(operated, "ac-lost", by="hand"), allocated(operated, "ac-other")}
    listed = operated.run(leftovers, "--project", "ac-lost", *HERE)
    assert (listed.code, listed.out.count("address "), addresses(operated)) == (ExitCode.OK, 1, {lost, *kept})
    assert "$3.65 a month" in listed.out
    wrong = operated.run(leftovers, "--project", "ac-lost", "--remove", "yes", *HERE)
    assert (wrong.code, addresses(operated)) == (ExitCode.USAGE, {lost, *kept})
    done = operated.run(leftovers, "--project", "ac-lost", "--remove", "ac-lost", *HERE)
    assert (done.code, addresses(operated)) == (ExitCode.OK, kept)
    assert done.out.endswith("Nothing is left in us-east-1 of the deployment ac-lost.\n")


@pytest.mark.slow
def test_what_terraform_knows_is_left_to_terraform(operated: Operated) -> None:
    known = allocated(operated, NAME)
    assert "destroy` ends it, and nothing is lost yet" in operated.run(leftovers, "--project", NAME, *HERE).out
    said = operated.run(leftovers, "--project", NAME, "--remove", NAME, *HERE)
    assert (said.code, addresses(operated)) == (ExitCode.REFUSED, {known})
    assert f"Terraform knows the deployment {NAME}" in said.err


def without_logs(app: Any) -> Any:
    """An AWS that does not let these credentials look at CloudWatch's logs."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("Logs_"):
            return app(environ, start)  # type: ignore[no-any-return]  # werkzeug takes any
        start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()]

    return answer


def test_what_may_not_be_looked_at_is_said(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    server = AwsServer(wrap=without_logs)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", environment(server.endpoint_url)["AWS_ENDPOINT_URL"])
        said = operated.run(leftovers, "--project", "ac-lost", *HERE)
    finally:
        server.stop()
    assert (said.code, said.out) == (ExitCode.REFUSED, "")
    assert "Not everything could be looked at. logs in us-east-1: AWS does not let these credentials do" in said.err

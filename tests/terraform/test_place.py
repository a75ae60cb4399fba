"""A deployment is not lost sight of: another region and a lost state are refused, and what is left can be ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.support.aws_server import ACCOUNT, AwsProcess, environment
from tests.support.stack import ROOT, Stack
from tests.terraform.test_life import leftovers

pytestmark = [pytest.mark.terraform, pytest.mark.timeout(1200)]

PROJECT = {"Key": "Project", "Value": "ac-training"}


@pytest.fixture
def aws() -> Iterator[AwsProcess]:
    server = AwsProcess()
    try:
        yield server
    finally:
        server.stop()


def refusal(stack: Stack, *arguments: str) -> str:
    """What Terraform says while it refuses, in one line."""
    with pytest.raises(AssertionError) as refused:
        stack._run(*arguments)
    return " ".join(str(refused.value).split())


def find_leftovers(aws: AwsProcess, **options: str) -> "subprocess.CompletedProcess[str]":
    """`make leftovers` as make calls it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AC_"))}
    kept |= environment(aws.endpoint_url) | {f"AC_{name}": value for name, value in options.items()}
    return subprocess.run(
        [sys.executable, "-m", "scripts.cloud", "leftovers"],
        env=kept,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_a_deployment_is_neither_forgotten_nor_made_twice_and_ends_without_its_state(
    tmp_path: Path, aws: AwsProcess
) -> None:
    stack = Stack(tmp_path / "stack", aws.endpoint_url, alert_email="you@example.org", cloudwatch_logs=True)
    stack.apply()
    bucket, state = stack.output("bucket"), stack.state.read_bytes()

    # Another region: nothing is forgotten, whether more is asked for or an end.
    stack.variables["region"] = "eu-west-1"
    for command in ("apply", "destroy"):
        said = refusal(stack, command, "-auto-approve", "-input=false")
        assert f"This deployment is in us-east-1 (account {ACCOUNT}), and this would look for it in eu-west-1" in said
        assert "`terraform -chdir=terraform destroy`, and only then change it" in said
    assert stack.state.read_bytes() == state
    del stack.variables["region"]
    assert stack.plan() == ""

    # A run that left versions, a deletion and half an upload; and what belongs to others.
    s3, ec2, ssm = aws.client("s3"), aws.client("ec2"), aws.client("ssm")
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="runs/run-1/checkpoints/LATEST", Body=body)
    s3.delete_object(Bucket=bucket, Key="runs/run-1/checkpoints/LATEST")
    s3.create_multipart_upload(Bucket=bucket, Key="runs/run-1/logs/half")
    others = ec2.allocate_address(Domain="vpc")
    ec2.create_tags(Resources=[others["AllocationId"]], Tags=[PROJECT, {"Key": "ManagedBy", "Value": "hand"}])
    s3.create_bucket(Bucket=f"ac-training-{ACCOUNT}-us-west-2")
    s3.put_bucket_tagging(Bucket=f"ac-training-{ACCOUNT}-us-west-2", Tagging={"TagSet": [PROJECT]})
    ssm.put_parameter(Name="/ac-training/mine", Value="1", Type="String", Tags=[PROJECT])

    # The state is lost: it is not made a second time, and the way to what is left is said.
    stack.state.unlink()
    said = refusal(stack, "apply", "-auto-approve", "-input=false")
    assert "AWS has a deployment ac-training that this state does not know (the role ac-training" in said
    assert "`make leftovers PROJECT=ac-training` lists" in said
    assert len(ec2.describe_addresses()["Addresses"]) == 2

    listed = find_leftovers(aws)
    assert listed.returncode == ExitCode.OK, listed.stderr
    kinds = {line.split("  ")[0] for line in listed.stdout.splitlines() if "  " in line}
    assert kinds == {
        *("group", "instance", "address", "disk", "launch template", "bucket", "parameter", "log group", "budget"),
        *("endpoint", "subnet", "gateway", "route table", "security group", "network", "role", "instance profile"),
    }
    assert f"aws s3 sync s3://{bucket}/runs runs --region us-east-1" in listed.stdout
    assert "$3.65 a month" in listed.stdout
    assert "REMOVE=ac-training` ends all of it, every checkpoint included" in listed.stdout

    wrong = find_leftovers(aws, REMOVE="yes")
    assert (wrong.returncode, wrong.stdout) == (ExitCode.USAGE, "")
    assert "Write the same name twice" in wrong.stderr
    assert len(ec2.describe_addresses()["Addresses"]) == 2, "something was ended by a list"

    done = find_leftovers(aws, REMOVE="ac-training")
    assert done.returncode == ExitCode.OK, done.stderr
    assert done.stdout.endswith("Nothing is left in any region of the deployment ac-training.\n")
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [f"ac-training-{ACCOUNT}-us-west-2"]
    assert ec2.release_address(AllocationId=others["AllocationId"])
    assert ssm.delete_parameter(Name="/ac-training/mine")
    s3.delete_bucket(Bucket=f"ac-training-{ACCOUNT}-us-west-2")
    assert leftovers(aws) == {}
    assert find_leftovers(aws, REGION="us-east-1").stdout.startswith("AWS has nothing in us-east-1 that carries")
    assert "aws_autoscaling_group.instance will be created" in stack.plan()


def test_a_type_that_cannot_serve_is_refused_before_anything_is_made(tmp_path: Path, aws: AwsProcess) -> None:
    stack = Stack(tmp_path / "stack", aws.endpoint_url, instance_types=["g5.xlarge", "g99.xlarge"])
    said = refusal(stack, "plan", "-input=false")
    assert "instance_types names what AWS does not have in us-east-1: g99.xlarge." in said
    # moto knows no type with a GPU of AMD: terraform/tests has one.
    stack.variables["instance_types"] = ["g5g.xlarge", "c7i.xlarge"]
    said = refusal(stack, "plan", "-input=false")
    assert "instance_types names g5g.xlarge, whose processor is arm64;" in said
    assert "instance_types names c7i.xlarge, which has no GPU, and accelerator" in said
    assert leftovers(aws) == {}

"""The life of a deployment without any extra: a change of the code, an end, later applies, and destroy."""

import base64
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud.aws import RUN_TAG
from tests.support.aws_server import AwsProcess
from tests.support.stack import Stack
from train_cloud.instance.config import Limits
from train_cloud.settings import parse_settings

pytestmark = [pytest.mark.terraform, pytest.mark.timeout(1200)]


@pytest.fixture
def aws() -> Iterator[AwsProcess]:
    server = AwsProcess()
    try:
        yield server
    finally:
        server.stop()


def group(aws: AwsProcess) -> Any:
    (found,) = aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return found


def instances(aws: AwsProcess) -> list[str]:
    return [instance["InstanceId"] for instance in group(aws)["Instances"]]


def code_hashes(aws: AwsProcess, bucket: str) -> set[str]:
    pages = aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="code/")
    return {entry["Key"].split("/")[1] for page in pages for entry in page["Contents"]}


def template(aws: AwsProcess) -> Any:
    (found,) = aws.client("ec2").describe_launch_templates()["LaunchTemplates"]
    return found


def test_new_code_reaches_the_next_launch_and_a_finished_run_stays_finished(tmp_path: Path, aws: AwsProcess) -> None:
    stack = Stack(tmp_path / "stack", aws.endpoint_url, endpoint_mode="ssm", accelerator="cpu", volume_gb=20)
    stack.apply()
    deployment = stack.output("deployment")
    (first_instance,) = instances(aws)
    (first_code,) = code_hashes(aws, deployment["bucket"])
    ssm = aws.client("ssm")
    token = ssm.get_parameter(Name=deployment["token_parameter"], WithDecryption=True)["Parameter"]["Value"]

    # The instance publishes what it is, and stores a checkpoint; the operator changes a script.
    ssm.put_parameter(Name=deployment["endpoint_parameter"], Value='{"host": "198.51.100.9"}', Overwrite=True)
    ssm.put_parameter(
        Name=deployment["tls_parameter"], Value="key and certificate", Type="SecureString", Overwrite=True
    )
    aws.client("s3").put_object(Bucket=deployment["bucket"], Key="runs/run-1/checkpoints/LATEST", Body=b"{}")
    script = stack.folder / "train_cloud" / "run_config.py"
    stack.write("train_cloud/run_config.py", script.read_text(encoding="utf-8") + "\n# A change.\n")
    stack.apply()

    (second_code,) = code_hashes(aws, deployment["bucket"])
    assert second_code != first_code
    assert template(aws)["LatestVersionNumber"] == template(aws)["DefaultVersionNumber"] == 2
    assert instances(aws) == [first_instance], "the running instance goes on"
    kept = {
        name: ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        for name in (deployment["token_parameter"], deployment["endpoint_parameter"], deployment["tls_parameter"])
    }
    assert list(kept.values()) == [token, '{"host": "198.51.100.9"}', "key and certificate"]

    # The instance is interrupted: its replacement boots from the new version.
    aws.client("ec2").terminate_instances(InstanceIds=[first_instance])
    (second_instance,) = instances(aws)
    answer = aws.client("ec2").describe_instance_attribute(InstanceId=second_instance, Attribute="userData")
    assert answer["UserData"]["Value"] == template_user_data(aws)

    # The run is done: the instance sets 0. Nothing starts it again but the operator.
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=deployment["group"], DesiredCapacity=0)
    assert instances(aws) == []
    stack.variables["budget_usd"] = 30
    stack.apply()
    assert group(aws)["DesiredCapacity"] == 0
    assert instances(aws) == []
    assert template(aws)["LatestVersionNumber"] == 3

    stack.destroy()
    assert leftovers(aws) == {}


def test_limits_reach_a_running_instance_and_another_run_waits_for_its_end(tmp_path: Path, aws: AwsProcess) -> None:
    stack = Stack(tmp_path / "stack", aws.endpoint_url, endpoint_mode="ssm", accelerator="cpu", volume_gb=20)
    stack.apply()
    running, guarded_until = instances(aws), outer_guard(aws)

    stack.variables |= {"budget_usd": 30, "max_hours": 60, "idle_minutes": 10}
    stack.apply()
    told = aws.client("ssm").get_parameter(Name="/ac-training/limits")["Parameter"]["Value"]
    assert parse_settings(told.encode(), Limits, "limits") == Limits(budget_usd=30, max_hours=60, idle_minutes=10)
    assert timedelta(hours=11.9) < outer_guard(aws) - guarded_until < timedelta(hours=13)

    # What would make two truths is refused, and nothing is changed by it.
    changes: tuple[dict[str, Any], ...] = ({"run_id": "run-2"}, {"training": {"tau": 0.01}})
    applied, before = dict(stack.variables), (template(aws), outer_guard(aws), stack.output("deployment"))
    for change in changes:
        stack.variables = applied | change | {"budget_usd": 40}
        with pytest.raises(AssertionError) as refused:
            stack.apply()
        said = " ".join(str(refused.value).replace("│", " ").split())
        assert f"The instance {running[0]} works for another run, or for this one with other settings" in said
        assert "Run `make stop`, which saves everything and ends it, then terraform apply, then `make start`." in said
        assert (template(aws), outer_guard(aws), stack.output("deployment")) == before
    assert instances(aws) == running

    # The way that it names.
    group_name = stack.output("deployment")["group"]
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group_name, DesiredCapacity=0)
    stack.variables = applied | changes[0]
    stack.apply()
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group_name, DesiredCapacity=1)
    (described,) = aws.client("ec2").describe_instances(InstanceIds=instances(aws))["Reservations"]
    assert {"Key": RUN_TAG, "Value": "run-2"} in described["Instances"][0]["Tags"]
    assert stack.plan() == "", "the instance that was launched works for what is applied"


def outer_guard(aws: AwsProcess) -> Any:
    (action,) = aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    return action["StartTime"]


def template_user_data(aws: AwsProcess) -> str:
    versions = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateId=template(aws)["LaunchTemplateId"], Versions=["$Latest"]
    )
    data: str = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]
    return data


def leftovers(aws: AwsProcess) -> dict[str, Any]:
    """What is left in each service, apart from what every account has: a default network, AWS's public parameters."""
    ec2 = aws.client("ec2")
    autoscaling = aws.client("autoscaling")
    states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    networks = [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if not one["IsDefault"]]
    default = [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"] if one["IsDefault"]]
    parameters = aws.client("ssm").describe_parameters()["Parameters"]
    found = {
        "instances": ec2.describe_instances(Filters=states)["Reservations"],
        "volumes": ec2.describe_volumes()["Volumes"],
        "addresses": ec2.describe_addresses()["Addresses"],
        "launch templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "networks": networks,
        "subnets": [one for one in ec2.describe_subnets()["Subnets"] if one["VpcId"] not in default],
        "security groups": [
            one for one in ec2.describe_security_groups()["SecurityGroups"] if one["VpcId"] not in default
        ],
        "gateways": ec2.describe_internet_gateways()["InternetGateways"],
        "route tables": [one for one in ec2.describe_route_tables()["RouteTables"] if one["VpcId"] not in default],
        "endpoints": [one for one in ec2.describe_vpc_endpoints()["VpcEndpoints"] if one["State"] != "deleted"],
        "interfaces": ec2.describe_network_interfaces()["NetworkInterfaces"],
        "groups": autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"],
        "schedules": autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"],
        "buckets": aws.client("s3").list_buckets()["Buckets"],
        "parameters": [one for one in parameters if not one["Name"].startswith("/aws/")],
        "roles": aws.client("iam").list_roles()["Roles"],
        "profiles": aws.client("iam").list_instance_profiles()["InstanceProfiles"],
        "log groups": aws.client("logs").describe_log_groups()["logGroups"],
        "budgets": aws.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"],
    }
    return {kind: things for kind, things in found.items() if things}


def test_too_long_a_boot_script_is_refused_with_a_sentence(tmp_path: Path, aws: AwsProcess) -> None:
    stack = Stack(tmp_path / "stack", aws.endpoint_url, endpoint_mode="ssm")
    noise = base64.b64encode(secrets.token_bytes(16_384)).decode()
    stack.write("train_cloud/instance/lifeline.sh", f"#!/bin/bash\n# {noise}\n")
    with pytest.raises(AssertionError, match=r"bytes; EC2 takes fewer than 16384"):
        stack.plan()

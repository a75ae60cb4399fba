"""What the tests' AWS promises where bare moto breaks it; the applied stack holds the rest of the mends."""

import base64
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.aws_fidelity import PUBLIC_PARAMETERS, typical_spot_prices
from tests.support.aws_server import AwsServer


@pytest.fixture
def aws() -> Iterator[AwsServer]:
    server = AwsServer()
    server.reset()
    try:
        yield server
    finally:
        server.stop()


def started_group(aws: AwsServer) -> str:
    """A group of one instance from a template with tags for the volume; the name of the group."""
    ec2 = aws.client("ec2")
    tags = [{"Key": "Project", "Value": "lap"}]
    ec2.create_launch_template(
        LaunchTemplateName="lap",
        LaunchTemplateData={
            "ImageId": "ami-0c1d2e3f4a5b6071",
            "TagSpecifications": [{"ResourceType": "volume", "Tags": tags}],
            "BlockDeviceMappings": [
                {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "DeleteOnTermination": True}}
            ],
        },
        TagSpecifications=[{"ResourceType": "launch-template", "Tags": tags}],
    )
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    aws.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="lap",
        MinSize=0,
        MaxSize=1,
        DesiredCapacity=1,
        VPCZoneIdentifier=subnet,
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "lap", "Version": "$Latest"},
                "Overrides": [{"InstanceType": "g6.xlarge"}, {"InstanceType": "g5.xlarge"}],
            },
            "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0},
        },
    )
    return "lap"


def only_instance(aws: AwsServer, group: str) -> str:
    groups = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
    (instance,) = groups["AutoScalingGroups"][0]["Instances"]
    return str(instance["InstanceId"])


def test_a_versioned_bucket_can_be_emptied_of_its_delete_markers(aws: AwsServer) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="laps")
    s3.put_bucket_versioning(Bucket="laps", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="laps", Key="a", Body=b"1")
    s3.delete_object(Bucket="laps", Key="a")
    listed = s3.list_object_versions(Bucket="laps")
    for version in listed["Versions"] + listed["DeleteMarkers"]:
        s3.delete_object(Bucket="laps", Key="a", VersionId=version["VersionId"])
    s3.delete_bucket(Bucket="laps")
    assert s3.list_buckets()["Buckets"] == []


def test_the_group_replaces_a_terminated_instance_and_its_address_is_free_again(aws: AwsServer) -> None:
    group = started_group(aws)
    ec2 = aws.client("ec2")
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    first = only_instance(aws, group)
    ec2.associate_address(AllocationId=allocation, InstanceId=first, AllowReassociation=True)
    assert ec2.describe_addresses()["Addresses"][0]["InstanceId"] == first

    ec2.terminate_instances(InstanceIds=[first])

    assert "AssociationId" not in ec2.describe_addresses()["Addresses"][0]
    second = only_instance(aws, group)
    assert second != first
    ec2.associate_address(AllocationId=allocation, InstanceId=second)
    assert ec2.describe_addresses()["Addresses"][0]["InstanceId"] == second


def test_an_instance_has_its_templates_volume_and_tags_and_takes_them_along(aws: AwsServer) -> None:
    group = started_group(aws)
    ec2 = aws.client("ec2")
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert (volume["Size"], volume["VolumeType"]) == (30, "gp3")
    assert {"Key": "Project", "Value": "lap"} in volume["Tags"]
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
    assert ec2.describe_volumes()["Volumes"] == []


def test_the_groups_next_instance_has_the_user_data_of_the_templates_newest_version(aws: AwsServer) -> None:
    group = started_group(aws)
    ec2 = aws.client("ec2")
    data = base64.b64encode(b"#cloud-config").decode()
    ec2.create_launch_template_version(LaunchTemplateName="lap", LaunchTemplateData={"UserData": data})
    ec2.terminate_instances(InstanceIds=[only_instance(aws, group)])
    second = only_instance(aws, group)
    assert ec2.describe_instance_attribute(InstanceId=second, Attribute="userData")["UserData"]["Value"] == data


def test_an_update_of_the_group_keeps_its_list_of_types_for_the_next_instance(aws: AwsServer) -> None:
    group = started_group(aws)
    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=group, MinSize=0, MaxSize=1)
    ec2 = aws.client("ec2")
    ec2.terminate_instances(InstanceIds=[only_instance(aws, group)])
    (reservation,) = ec2.describe_instances(InstanceIds=[only_instance(aws, group)])["Reservations"]
    assert reservation["Instances"][0]["InstanceType"] == "g6.xlarge"


def test_a_deleted_group_takes_its_scheduled_action_along(aws: AwsServer) -> None:
    group = started_group(aws)
    autoscaling = aws.client("autoscaling")
    autoscaling.put_scheduled_update_group_action(
        AutoScalingGroupName=group, ScheduledActionName="end", StartTime="2030-01-01T00:00:00Z", DesiredCapacity=0
    )
    assert len(autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]) == 1
    autoscaling.delete_auto_scaling_group(AutoScalingGroupName=group, ForceDelete=True)
    assert autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"] == []


@pytest.mark.parametrize("name", PUBLIC_PARAMETERS)
def test_the_amis_have_their_public_parameters(aws: AwsServer, name: str) -> None:
    assert aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"].startswith("ami-")


def test_a_secret_parameter_comes_back_as_it_was_put(aws: AwsServer) -> None:
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/lap/token", Value="s3cret", Type="SecureString")
    assert ssm.get_parameter(Name="/lap/token", WithDecryption=True)["Parameter"]["Value"] == "s3cret"
    assert ssm.get_parameter(Name="/lap/token")["Parameter"]["Value"] != "s3cret"


def spot_history(aws: AwsServer, **what: Any) -> list[Any]:
    found: list[Any] = aws.client("ec2").describe_spot_price_history(**what)["SpotPriceHistory"]
    return found


def test_spot_prices_are_the_typical_ones_in_each_zone(aws: AwsServer) -> None:
    found = spot_history(aws, InstanceTypes=["g5.xlarge"], ProductDescriptions=["Linux/UNIX"])
    zones = [zone["ZoneName"] for zone in aws.client("ec2").describe_availability_zones()["AvailabilityZones"]]
    assert [entry["AvailabilityZone"] for entry in found] == zones
    assert {float(entry["SpotPrice"]) for entry in found} == {typical_spot_prices()["g5.xlarge"]}
    assert {entry["ProductDescription"] for entry in found} == {"Linux/UNIX"}


def test_spot_prices_can_be_set_and_a_type_without_one_has_no_history() -> None:
    server = AwsServer(spot_prices={"g5.xlarge": 1.25})
    try:
        (entry,) = spot_history(server, InstanceTypes=["g5.xlarge", "g6.xlarge"], AvailabilityZone="us-east-1b")
        assert (entry["InstanceType"], float(entry["SpotPrice"])) == ("g5.xlarge", 1.25)
        assert spot_history(server, InstanceTypes=["g6.xlarge"]) == []
    finally:
        server.stop()


def test_middleware_sees_each_request_on_each_of_the_given_sockets() -> None:
    seen: list[str] = []

    def wrap(app: Any) -> Any:
        def watched(environ: dict[str, Any], start: Any) -> Any:
            seen.append(environ["PATH_INFO"])
            return app(environ, start)

        return watched

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        server = AwsServer(wrap=wrap, fds=[one.fileno(), two.fileno()])
        try:
            for listening in (one, two):
                url = f"http://127.0.0.1:{listening.getsockname()[1]}/moto-api/"
                urllib.request.urlopen(url, timeout=120).close()
        finally:
            server.stop()
    assert seen == ["/moto-api/", "/moto-api/"]


@pytest.mark.slow
def test_as_a_process_it_prints_its_url_serves_inherited_sockets_and_ends_at_sigterm() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.aws_server", "--fd", str(fd)],
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[fd],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url == f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert urllib.request.urlopen(f"{url}/moto-api/", timeout=120).status == 200
            process.terminate()
            assert process.wait(120) == 0

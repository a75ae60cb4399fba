"""The applied deployment with everything that can be asked for, looked at through AWS's own interfaces."""

import base64
import gzip
import hashlib
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from scripts.cloud.deployment import load_deployment
from tests.support.stack import HOME, ROOT
from tests.support.tools import need_tools
from tests.terraform.conftest import WANDB_KEY, Applied
from train_cloud.instance.config import load_instance_config
from train_cloud.run_config import load_run_config

pytestmark = [pytest.mark.terraform]

TAGS = {"Project": "ac-training", "ManagedBy": "terraform"}
NAME = "ac-training"


def template(applied: Applied) -> Any:
    versions = applied.aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=NAME, Versions=["$Latest"]
    )
    return versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]


def instance(applied: Applied) -> Any:
    (reservation,) = applied.aws.client("ec2").describe_instances()["Reservations"]
    (found,) = reservation["Instances"]
    return found


def user_data(applied: Applied) -> str:
    """What cloud-init gets to read on the instance that is running."""
    ec2 = applied.aws.client("ec2")
    answer = ec2.describe_instance_attribute(InstanceId=instance(applied)["InstanceId"], Attribute="userData")
    return gzip.decompress(base64.b64decode(answer["UserData"]["Value"])).decode()


def written_files(applied: Applied) -> dict[str, Any]:
    cloud_config = yaml.safe_load(user_data(applied))
    return {file["path"]: file for file in cloud_config["write_files"]}


def parameter(applied: Applied, name: str) -> str:
    value: str = applied.aws.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    return value


def test_a_second_plan_changes_nothing(applied: Applied) -> None:
    assert applied.stack.plan() == ""


def test_no_secret_is_in_the_state_the_outputs_the_plan_or_the_user_data(applied: Applied) -> None:
    token = parameter(applied, f"/{NAME}/token")
    assert re.fullmatch(r"[A-Za-z0-9]{40}", token)
    assert parameter(applied, f"/{NAME}/wandb") == WANDB_KEY
    places = {
        "state": applied.stack.state.read_text(encoding="utf-8"),
        "outputs": json.dumps(applied.stack.outputs()),
        "apply's words": applied.told,
        "user_data": user_data(applied),
    }
    for place, text in places.items():
        assert len(text) > 500, place
        assert token not in text, place
        assert WANDB_KEY not in text, place


def test_one_spot_instance_runs_from_the_template(applied: Applied) -> None:
    (group,) = applied.aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (0, 1, 1)
    distribution = group["MixedInstancesPolicy"]["InstancesDistribution"]
    assert distribution["OnDemandPercentageAboveBaseCapacity"] == 0
    assert distribution["SpotAllocationStrategy"] == "price-capacity-optimized"
    running = instance(applied)
    assert running["State"]["Name"] == "running"
    assert running["PublicIpAddress"]
    assert running["SubnetId"] in group["VPCZoneIdentifier"].split(",")
    assert len(group["VPCZoneIdentifier"].split(",")) == 6
    data = template(applied)
    assert data["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpEndpoint": "enabled",
    }
    assert "InstanceMarketOptions" not in data
    assert data["KeyName"] == "my-key"


def test_everything_carries_the_tags_the_instance_and_its_volume_too(applied: Applied) -> None:
    ec2 = applied.aws.client("ec2")
    tagged: dict[str, dict[str, str]] = {}
    for page in ec2.get_paginator("describe_tags").paginate():
        for tag in page["Tags"]:
            tagged.setdefault(f"{tag['ResourceType']} {tag['ResourceId']}", {})[tag["Key"]] = tag["Value"]
    complete = [name for name, tags in tagged.items() if TAGS.items() <= tags.items()]
    kinds = {name.split()[0] for name in complete}
    # What AWS calls elastic-ip is vpc-elastic-ip to moto.
    assert kinds == {
        *("vpc", "subnet", "internet-gateway", "route-table", "security-group", "security-group-rule", "vpc-endpoint"),
        *("vpc-elastic-ip", "launch-template", "instance", "volume"),
    }
    assert len(complete) == len(tagged)
    assert f"instance {instance(applied)['InstanceId']}" in complete
    volumes = ec2.describe_volumes()["Volumes"]
    assert [f"volume {one['VolumeId']}" in complete for one in volumes] == [True]
    assert volumes[0]["Encrypted"]
    rules = ec2.describe_security_group_rules()["SecurityGroupRules"]
    home = [rule for rule in rules if rule.get("CidrIpv4") == HOME]
    assert home
    assert all(TAGS.items() <= as_dict(rule["Tags"]).items() for rule in home)
    specified = {one["ResourceType"]: as_dict(one["Tags"]) for one in template(applied)["TagSpecifications"]}
    assert set(specified) == {"instance", "volume", "network-interface", "spot-instances-request"}
    assert all(TAGS.items() <= tags.items() for tags in specified.values())


def test_what_is_outside_ec2_carries_the_tags_too(applied: Applied) -> None:
    aws = applied.aws
    bucket = applied.stack.output("bucket")
    manifest = code_keys(applied)[-1]
    groups = aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    log_group = aws.client("logs").describe_log_groups()["logGroups"][0]["logGroupArn"]
    tags = {
        "bucket": aws.client("s3").get_bucket_tagging(Bucket=bucket)["TagSet"],
        "object": aws.client("s3").get_object_tagging(Bucket=bucket, Key=manifest)["TagSet"],
        "role": aws.client("iam").list_role_tags(RoleName=NAME)["Tags"],
        "profile": aws.client("iam").get_instance_profile(InstanceProfileName=NAME)["InstanceProfile"]["Tags"],
        "group": groups[0]["Tags"],
        "budget": aws.client("budgets").list_tags_for_resource(
            ResourceARN=f"arn:aws:budgets::123456789012:budget/{NAME}"
        )["ResourceTags"],
    }
    for name in ("token", "tls", "endpoint", "limits", "wandb"):
        answer = aws.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=f"/{NAME}/{name}")
        tags[name] = answer["TagList"]
    for kind, pairs in tags.items():
        assert TAGS.items() <= as_dict(pairs).items(), kind
    assert aws.client("logs").list_tags_for_resource(resourceArn=log_group)["tags"] == TAGS


def as_dict(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs}


def test_only_home_reaches_the_instance(applied: Applied) -> None:
    rules = applied.aws.client("ec2").describe_security_group_rules()["SecurityGroupRules"]
    (group,) = instance(applied)["SecurityGroups"]
    ours = [rule for rule in rules if rule["GroupId"] == group["GroupId"]]
    inward = {(rule["CidrIpv4"], rule["FromPort"], rule["ToPort"]) for rule in ours if not rule["IsEgress"]}
    outward = {(rule["CidrIpv4"], rule["FromPort"], rule["ToPort"]) for rule in ours if rule["IsEgress"]}
    assert inward == {(HOME, 8765, 8765), (HOME, 8766, 8766), (HOME, 22, 22)}
    assert outward == {("0.0.0.0/0", 443, 443), ("0.0.0.0/0", 80, 80)}


def test_the_role_may_do_what_the_instance_does_and_no_more(applied: Applied) -> None:
    policy = applied.aws.client("iam").get_role_policy(RoleName=NAME, PolicyName="instance")["PolicyDocument"]
    statements = {statement["Sid"]: statement for statement in policy["Statement"]}
    actions = {action for statement in statements.values() for action in as_list(statement["Action"])}
    assert actions == {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:PutScheduledUpdateGroupAction",
        "ec2:AssociateAddress",
        "ec2:DescribeSpotPriceHistory",
        "ssm:GetParameter",
        "ssm:GetParameters",
        "ssm:PutParameter",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }
    unscoped = {sid for sid, statement in statements.items() if "*" in as_list(statement["Resource"])}
    assert unscoped == {"KnowTheSpotPrice", "OfferSessions"}
    bucket = f"arn:aws:s3:::{applied.stack.output('bucket')}"
    assert as_list(statements["KeepTheRun"]["Resource"]) == [f"{bucket}/runs/*", f"{bucket}/env/*"]
    assert statements["ForInstancesOfThisRole"]["Condition"]["ArnEquals"] == {
        "ec2:InstanceProfile": f"arn:aws:iam::123456789012:instance-profile/{NAME}"
    }
    parameters = "arn:aws:ssm:us-east-1:123456789012:parameter"
    written = as_list(statements["PublishIdentityAndAddress"]["Resource"])
    assert set(written) == {f"{parameters}/{NAME}/tls", f"{parameters}/{NAME}/endpoint"}
    (address,) = applied.aws.client("ec2").describe_addresses()["Addresses"]
    assert statements["ClaimTheAddress"]["Resource"].endswith(address["AllocationId"])
    assert statements["EndTheRun"]["Resource"].endswith(f":autoScalingGroupName/{NAME}")


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else sorted(value, reverse=True)


def test_the_bucket_is_versioned_encrypted_closed_and_takes_tls_only(applied: Applied) -> None:
    s3 = applied.aws.client("s3")
    bucket = applied.stack.output("bucket")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def code_keys(applied: Applied) -> list[str]:
    """The uploaded code's keys, the manifest last."""
    pages = (
        applied.aws.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=applied.stack.output("bucket"), Prefix="code/")
    )
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    return sorted(keys, key=lambda key: (key.endswith("/MANIFEST"), key))


def test_the_code_is_in_the_bucket_as_the_manifest_says(applied: Applied) -> None:
    s3 = applied.aws.client("s3")
    bucket = applied.stack.output("bucket")
    *keys, manifest_key = code_keys(applied)
    folder = manifest_key.removesuffix("MANIFEST")
    manifest = s3.get_object(Bucket=bucket, Key=manifest_key)["Body"].read()
    assert folder == f"code/{hashlib.sha256(manifest).hexdigest()[:16]}/"
    sums = dict(reversed(line.split("  ")) for line in manifest.decode().splitlines())
    assert {folder + path for path in sums} == set(keys)
    for path, digest in sums.items():
        stored = s3.get_object(Bucket=bucket, Key=folder + path)["Body"].read()
        assert hashlib.sha256(stored).hexdigest() == digest, path
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "runtime", "racing", "wire", "experience", "train_cloud"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(tracked.stdout.split()) <= set(sums), "a tracked file is not uploaded"


def test_the_user_data_is_a_cloud_config_of_the_scripts_and_settings(applied: Applied, tmp_path: Path) -> None:
    assert len(base64.b64decode(template(applied)["UserData"])) < 16_384
    files = written_files(applied)
    for script in ("boot.sh", "lifeline.sh"):
        file = files[f"/usr/local/lib/ac-training/{script}"]
        assert file["content"] == (ROOT / "train_cloud" / "instance" / script).read_text(encoding="utf-8")
        assert file["permissions"] == "0755"
    environment = dict(line.split("=", 1) for line in files["/etc/ac-training/boot.env"]["content"].splitlines())
    (address,) = applied.aws.client("ec2").describe_addresses()["Addresses"]
    assert environment == {
        "AC_NAME": "'ac-training'",
        "AC_REGION": "'us-east-1'",
        "AC_BUCKET": f"'{applied.stack.output('bucket')}'",
        "AC_RUN_ID": "'run-1'",
        "AC_GROUP": "'ac-training'",
        "AC_CODE": f"'{code_keys(applied)[0].split('/')[1]}'",
        "AC_ALLOCATION": f"'{address['AllocationId']}'",
        "AC_ACCELERATOR": "'gpu'",
        "AC_MAX_LAUNCHES": "'50'",
    }
    file = tmp_path / "user_data"
    file.write_text(user_data(applied), encoding="utf-8")
    assert yaml.safe_load(user_data(applied))["runcmd"] == [["bash", "/usr/local/lib/ac-training/boot.sh"]]
    need_tools("cloud-init")
    command = ["cloud-init", "schema", "--config-file", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_instance_reads_its_run_and_its_limits(applied: Applied, tmp_path: Path) -> None:
    files = written_files(applied)
    for name in ("run.json", "instance.json"):
        (tmp_path / name).write_text(files[f"/etc/ac-training/{name}"]["content"], encoding="utf-8")
    run = load_run_config(tmp_path / "run.json")
    (address,) = applied.aws.client("ec2").describe_addresses()["Addresses"]
    assert (run.public_host, run.listen_port, run.device) == (address["PublicIp"], 8765, "cuda")
    assert (run.method, run.target_entropy, run.network, run.task.control_hz) == ("tqc", -2.5, [400, 300], 25)
    assert (run.bucket.name, run.bucket.endpoint_url) == (applied.stack.output("bucket"), None)
    assert (run.wandb_project, run.wandb_entity) == ("laps", "me")
    limits = load_instance_config(tmp_path / "instance.json")
    assert (limits.run_id, limits.group, limits.max_hours, limits.budget_usd) == (run.run_id, NAME, 5, 20)
    assert (limits.wandb_parameter, limits.log_group) == (f"/{NAME}/wandb", f"/{NAME}")
    assert 0.01 < limits.hourly_extra_usd < 0.02
    assert limits.fallback_price_usd_per_hour == 0.54
    assert 1.212 + 0.01 < limits.guard_usd_per_hour < 1.212 + 0.02
    assert limits.tensorboard_host == "127.0.0.1"


def test_the_operators_tools_read_the_deployment(applied: Applied) -> None:
    deployment = load_deployment(None, applied.stack.state.parent)
    assert (deployment.name, deployment.max_hours, deployment.listen_port) == (NAME, 5, 8765)
    assert deployment.total_timesteps == 200_000
    (action,) = applied.aws.client("autoscaling").describe_scheduled_actions()["ScheduledUpdateGroupActions"]
    assert action["ScheduledActionName"] == deployment.schedule
    assert action["DesiredCapacity"] == 0
    assert abs(action["StartTime"] - datetime.now(UTC) - timedelta(hours=6)) < timedelta(minutes=30)


def test_the_budget_mails_and_the_log_group_forgets(applied: Applied) -> None:
    budgets = applied.aws.client("budgets")
    where = {"AccountId": "123456789012", "BudgetName": NAME}
    (notification,) = budgets.describe_notifications_for_budget(**where)["Notifications"]
    assert notification["Threshold"] == 80
    told = budgets.describe_subscribers_for_notification(**where, Notification=notification)["Subscribers"]
    assert told == [{"SubscriptionType": "EMAIL", "Address": "you@example.org"}]
    (group,) = applied.aws.client("logs").describe_log_groups()["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == (f"/{NAME}", 30)


def test_the_outputs_say_where_and_how(applied: Applied) -> None:
    outputs = applied.stack.outputs()
    (address,) = applied.aws.client("ec2").describe_addresses()["Addresses"]
    assert outputs["bridge_endpoint"] == f"wss://{address['PublicIp']}:8765"
    assert outputs["ssh_command"] == f"ssh ubuntu@{address['PublicIp']}"
    assert [outputs[name] for name in ("pair_command", "start_command", "stop_command")] == [
        "make pair",
        "make start",
        "make stop",
    ]
    for name in ("session_command", "logs_command", "tensorboard_command"):
        checked = subprocess.run(["bash", "-n", "-c", outputs[name]], capture_output=True, check=False)
        assert checked.returncode == 0, name
        assert outputs[name].startswith("aws ssm start-session --region us-east-1 --target ")
    assert 0.5 < outputs["hourly_cost_usd"] < 0.6
    assert outputs["stopped_monthly_cost_usd"] == 3.65

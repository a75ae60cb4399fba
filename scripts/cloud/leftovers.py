"""`make leftovers`: what AWS still has of a deployment whose Terraform state is lost, at what price, and its end.

Promises to touch only what carries the tags that Terraform gave it (Project and ManagedBy), to say what it may not look
at, and to claim that nothing is left only after it looked again. What is removed is gone, checkpoints included.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import boto3
import typer
from botocore.config import Config
from botocore.exceptions import ClientError

from runtime.exit_codes import ExitCode
from scripts.cloud.command import DeploymentFile, note, told
from scripts.cloud.cost import PRICES, Prices
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.waiting import Wait
from train_cloud.object_store import CONNECT_SECONDS, READ_SECONDS
from train_cloud.settings import load_settings

MINUTES = 5.0
"""How long the end of one thing is waited for: AWS lets a network go only after all that was in it."""
_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 6, "mode": "standard"}
)
_IN_USE = ("DependencyViolation", "DeleteConflict", "InUse", "IncorrectState", "OperationAborted", "InProgress")
_GONE = ("NotFound", "NoSuch")


class Leftover(NamedTuple):
    """One thing in AWS, with its rough price (US dollars a month, 0 for what is free) and what ends it."""

    kind: str
    name: str
    region: str
    usd_per_month: float
    remove: Callable[[], object]


def leftovers(
    project: Annotated[
        str, typer.Option(envvar="AC_PROJECT", help="project_name of the deployment in terraform.tfvars.")
    ] = "ac-training",
    region: Annotated[
        str | None, typer.Option(envvar="AC_REGION", help="Look there only; default: everywhere, the role included.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option(envvar="AC_REMOVE", help="The project's name once more: end all that was found.")
    ] = None,
    deployment: DeploymentFile = None,
) -> None:
    """List what is left of a deployment in AWS, and end it."""
    if remove not in (None, project):
        raise OperatorError(
            f"REMOVE={remove} is not the name of the deployment, {project}: nothing is touched. Write the same name "
            "twice to end what is left of it.",
            ExitCode.USAGE,
        )
    known = _is_known(project, region, deployment)
    if remove and known:
        raise OperatorError(
            f"Terraform knows the deployment {project}: `terraform -chdir=terraform destroy` ends it, and nothing is "
            "touched here. Something older of the same name in another region is ended by REGION=that one.",
            ExitCode.REFUSED,
        )
    search = _Search(project, region)
    found = search.everything()
    for thing in found:
        print(f"{thing.kind:<17}  {thing.name}  {thing.region}  {_dollars(thing.usd_per_month)}")
    where = f"in {region}" if region else "in any region"
    if not found:
        search.say_what_was_not_seen()
        print(f"AWS has nothing {where} that carries the tags of the deployment {project}.")
        return
    print(f"Together {_dollars(sum(thing.usd_per_month for thing in found))}, roughly.")
    if remove is None:
        _say_how(project, found, known)
        search.say_what_was_not_seen()
        return
    for thing in found:
        note(f"ends {thing.kind} {thing.name}")
        _end(thing)
    if again := search.everything():
        left = ", ".join(f"{thing.kind} {thing.name}" for thing in again)
        raise OperatorError(f"There is still: {left}. Some of it takes AWS minutes; give the same command again.")
    search.say_what_was_not_seen()
    print(f"Nothing is left {where} of the deployment {project}.")


def _dollars(amount: float) -> str:
    return f"${amount:.2f} a month" if amount else "free"


def _is_known(project: str, region: str | None, file: Path | None) -> bool:
    """Whether Terraform's state here (or the file) holds it, so that an ordinary destroy would do."""
    try:
        known = load_deployment(file)
    except OperatorError:
        return False
    return known.name == project and region in (None, known.region)


def _say_how(project: str, found: list[Leftover], known: bool) -> None:
    """How to end it, and how to keep what is worth keeping."""
    if known:
        print("Terraform knows this deployment: `terraform -chdir=terraform destroy` ends it, and nothing is lost yet.")
        return
    for thing in found:
        if thing.kind == "bucket":
            print(f"Bring home what you want to keep: aws s3 sync s3://{thing.name}/runs runs --region {thing.region}")
    print(f"Then `make leftovers PROJECT={project} REMOVE={project}` ends all of it, every checkpoint included.")


def _end(thing: Leftover) -> None:
    """Remove it, waiting for what must be gone before; what is gone already is no error."""
    wait = Wait(MINUTES)
    while True:
        try:
            thing.remove()
            return
        except ClientError as error:
            code = _code(error)
            if any(part in code for part in _GONE):
                return
            if not any(part in code for part in _IN_USE) or not wait.again():
                raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class _Search:
    """Looks for everything of one project: in one region, or in all that the account uses and in what has no region."""

    def __init__(self, project: str, region: str | None) -> None:
        self._project, self._region = project, region
        self._prices: Prices = load_settings(PRICES, Prices, "The prices in", "a JSON file like terraform/prices.json")
        self._home = region or boto3.session.Session().region_name or "us-east-1"
        caller = _client("sts", self._home).get_caller_identity()
        self._account, self._partition = str(caller["Account"]), str(caller["Arn"]).split(":")[1]
        self._tags = {"Project": project, "ManagedBy": "terraform"}
        self._unseen: dict[str, str] = {}

    def everything(self) -> list[Leftover]:
        """All of it, in an order in which it can be ended."""
        self._unseen.clear()
        found = []
        for region in self._regions():
            note(f"looks in {region}")
            for finder in (self._machines, self._network, self._parameters, self._logs):
                found += self._seen(finder(region), f"{finder.__name__[1:]} in {region}")
        found += self._seen(self._buckets(), "buckets")
        if self._region is None:
            found += self._seen(self._roles(), "roles")
            found += self._seen(self._budgets(), "budgets")
        return found

    def say_what_was_not_seen(self) -> None:
        """OperatorError when AWS kept something from this search: then what was found may not be all."""
        if self._unseen:
            named = "; ".join(f"{what}: {why}" for what, why in self._unseen.items())
            raise OperatorError(f"Not everything could be looked at. {named}", ExitCode.REFUSED)

    def _seen(self, found: Iterator[Leftover], what: str) -> list[Leftover]:
        try:
            return list(found)
        except ClientError as error:
            text, code = told(error)
            if code == ExitCode.USAGE:
                raise
            self._unseen[what] = text
            return []

    def _regions(self) -> list[str]:
        if self._region:
            return [self._region]
        return sorted(one["RegionName"] for one in _client("ec2", self._home).describe_regions()["Regions"])

    def _is_ours(self, pairs: list[dict[str, str]]) -> bool:
        return self._tags.items() <= {pair["Key"]: pair["Value"] for pair in pairs}.items()

    def _filters(self, **more: list[str]) -> list[dict[str, Any]]:
        tags = [{"Name": f"tag:{key}", "Values": [value]} for key, value in self._tags.items()]
        return tags + [{"Name": name.replace("_", "-"), "Values": values} for name, values in more.items()]

    def _machines(self, region: str) -> Iterator[Leftover]:
        """The group first, so that nothing replaces what ends after it."""
        autoscaling, ec2 = _client("autoscaling", region), _client("ec2", region)
        hours, prices = self._prices.hours_per_month, self._prices.instance_types
        for group in _pages(autoscaling, "describe_auto_scaling_groups", "AutoScalingGroups", Filters=self._filters()):
            name = group["AutoScalingGroupName"]
            delete = partial(autoscaling.delete_auto_scaling_group, AutoScalingGroupName=name, ForceDelete=True)
            yield Leftover("group", name, region, 0.0, delete)
        alive = self._filters(instance_state_name=["pending", "running", "shutting-down", "stopping", "stopped"])
        for reservation in _pages(ec2, "describe_instances", "Reservations", Filters=alive):
            for one in reservation["Instances"]:
                listed = prices.get(one["InstanceType"])
                dearest = max(entry.on_demand_usd_per_hour for entry in prices.values())
                hourly = listed.spot_usd_per_hour if listed else dearest
                yield Leftover("instance", one["InstanceId"], region, hourly * hours, partial(_terminate, ec2, one))
        for one in ec2.describe_addresses(Filters=self._filters())["Addresses"]:
            release = partial(ec2.release_address, AllocationId=one["AllocationId"])
            monthly = self._prices.public_ipv4_usd_per_hour * hours
            yield Leftover("address", one["PublicIp"], region, monthly, release)
        for one in _pages(ec2, "describe_volumes", "Volumes", Filters=self._filters()):
            delete = partial(ec2.delete_volume, VolumeId=one["VolumeId"])
            yield Leftover("disk", one["VolumeId"], region, one["Size"] * self._prices.gp3_usd_per_gb_month, delete)
        for one in _pages(ec2, "describe_launch_templates", "LaunchTemplates", Filters=self._filters()):
            delete = partial(ec2.delete_launch_template, LaunchTemplateId=one["LaunchTemplateId"])
            yield Leftover("launch template", one["LaunchTemplateName"], region, 0.0, delete)

    def _network(self, region: str) -> Iterator[Leftover]:
        """All of it is free; each kind can be ended only after those before it."""
        ec2 = _client("ec2", region)

        def listed(what: str, key: str, **filters: list[str]) -> Iterator[Any]:
            return _pages(ec2, f"describe_{what}", key, Filters=self._filters(**filters))

        def thing(kind: str, name: str, delete: Callable[..., object], **what: Any) -> Leftover:
            return Leftover(kind, name, region, 0.0, partial(delete, **what))

        for one in listed("vpc_endpoints", "VpcEndpoints"):
            if one["State"] not in ("deleting", "deleted"):
                name = one["VpcEndpointId"]
                yield thing("endpoint", name, ec2.delete_vpc_endpoints, VpcEndpointIds=[name])
        for one in listed("network_interfaces", "NetworkInterfaces", status=["available"]):
            name = one["NetworkInterfaceId"]
            yield thing("interface", name, ec2.delete_network_interface, NetworkInterfaceId=name)
        for one in listed("subnets", "Subnets"):
            yield thing("subnet", one["SubnetId"], ec2.delete_subnet, SubnetId=one["SubnetId"])
        for one in listed("internet_gateways", "InternetGateways"):
            yield thing("gateway", one["InternetGatewayId"], _detach_and_delete, ec2=ec2, gateway=one)
        for one in listed("route_tables", "RouteTables"):
            yield thing("route table", one["RouteTableId"], _delete_routes, ec2=ec2, table=one)
        for one in listed("security_groups", "SecurityGroups"):
            # The default one goes with its network.
            if one["GroupName"] != "default":
                yield thing("security group", one["GroupId"], ec2.delete_security_group, GroupId=one["GroupId"])
        for one in listed("vpcs", "Vpcs"):
            yield thing("network", one["VpcId"], ec2.delete_vpc, VpcId=one["VpcId"])

    def _parameters(self, region: str) -> Iterator[Leftover]:
        ssm = _client("ssm", region)
        wanted = [{"Key": f"tag:{key}", "Values": [value]} for key, value in self._tags.items()]
        for one in _pages(ssm, "describe_parameters", "Parameters", ParameterFilters=wanted):
            yield Leftover("parameter", one["Name"], region, 0.0, partial(ssm.delete_parameter, Name=one["Name"]))

    def _logs(self, region: str) -> Iterator[Leftover]:
        logs = _client("logs", region)
        for one in _pages(logs, "describe_log_groups", "logGroups", logGroupNamePrefix=f"/{self._project}"):
            name = one["logGroupName"]
            tags = logs.list_tags_for_resource(resourceArn=one["arn"].removesuffix(":*"))["tags"]
            if self._tags.items() <= tags.items():
                yield Leftover("log group", name, region, 0.0, partial(logs.delete_log_group, logGroupName=name))

    def _buckets(self) -> Iterator[Leftover]:
        existing = {one["Name"] for one in _client("s3", self._home).list_buckets()["Buckets"]}
        for region in self._regions():
            s3, name = _client("s3", region), f"{self._project}-{self._account}-{region}"
            if name in existing and self._is_ours(s3.get_bucket_tagging(Bucket=name)["TagSet"]):
                versions = _pages(s3, "list_object_versions", "Versions", Bucket=name)
                size_gb = sum(version["Size"] for version in versions) / 1e9
                monthly = size_gb * self._prices.s3_usd_per_gb_month
                yield Leftover("bucket", name, region, monthly, partial(_empty_and_delete, s3, name))

    def _roles(self) -> Iterator[Leftover]:
        iam, name = _client("iam", self._home), self._project
        for kind, get, key, delete in (
            ("instance profile", iam.get_instance_profile, "InstanceProfile", _delete_profile),
            ("role", iam.get_role, "Role", _delete_role),
        ):
            try:
                found = get(**{f"{key}Name": name})[key]
            except iam.exceptions.NoSuchEntityException:
                continue
            if self._is_ours(found.get("Tags", [])):
                yield Leftover(kind, name, "of all regions", 0.0, partial(delete, iam, found))

    def _budgets(self) -> Iterator[Leftover]:
        budgets = _client("budgets", self._home)
        which = {"AccountId": self._account, "BudgetName": self._project}
        try:
            budgets.describe_budget(**which)
        except budgets.exceptions.NotFoundException:
            return
        arn = f"arn:{self._partition}:budgets::{self._account}:budget/{self._project}"
        if self._is_ours(budgets.list_tags_for_resource(ResourceARN=arn)["ResourceTags"]):
            yield Leftover("budget", self._project, "of all regions", 0.0, partial(budgets.delete_budget, **which))


def _client(service: str, region: str) -> Any:
    return boto3.client(service, region_name=region, config=_CONFIG)  # type: ignore[call-overload]  # a service by its name


def _pages(client: Any, question: str, key: str, **what: Any) -> Iterator[Any]:
    """Everything under `key` in the answers to one question."""
    for page in client.get_paginator(question).paginate(**what):
        yield from page.get(key, [])


def _terminate(ec2: Any, instance: dict[str, Any]) -> None:
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance["InstanceId"]])


def _detach_and_delete(ec2: Any, gateway: dict[str, Any]) -> None:
    name = gateway["InternetGatewayId"]
    (now,) = ec2.describe_internet_gateways(InternetGatewayIds=[name])["InternetGateways"]
    for attached in now["Attachments"]:
        ec2.detach_internet_gateway(InternetGatewayId=name, VpcId=attached["VpcId"])
    ec2.delete_internet_gateway(InternetGatewayId=name)


def _delete_routes(ec2: Any, table: dict[str, Any]) -> None:
    for one in table["Associations"]:
        with suppress(ClientError):
            # AWS has ended it together with its subnet.
            ec2.disassociate_route_table(AssociationId=one["RouteTableAssociationId"])
    ec2.delete_route_table(RouteTableId=table["RouteTableId"])


def _empty_and_delete(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        if objects:
            failed = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors")
            if failed:
                raise OperatorError(f"The bucket {bucket} keeps {failed[0]['Key']} ({failed[0]['Code']}).")
    for upload in _pages(s3, "list_multipart_uploads", "Uploads", Bucket=bucket):
        s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=bucket)


def _delete_profile(iam: Any, profile: dict[str, Any]) -> None:
    name = profile["InstanceProfileName"]
    for role in profile["Roles"]:
        iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role["RoleName"])
    iam.delete_instance_profile(InstanceProfileName=name)


def _delete_role(iam: Any, role: dict[str, Any]) -> None:
    name = role["RoleName"]
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)

"""The deployment as AWS shows it: the group, its instance, its parameters; and the two things an operator may change.

One thin method for one question, typed; calls end within seconds, and errors are boto3's (command.py puts them into
words). The token is asked for only where it is used, and no representation of an object here holds it.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import boto3
import msgspec
from botocore.config import Config

from scripts.cloud.deployment import AppliedDeployment, OperatorError
from scripts.cloud.run_record import RunRecord
from train_cloud.object_store import CONNECT_SECONDS, READ_SECONDS
from train_cloud.open_store import open_store
from train_cloud.run_config import BucketConfig
from train_cloud.run_folder.endpoint import Endpoint
from train_cloud.run_folder.keys import run_prefix
from train_cloud.run_folder.states import UNSET
from wire.pairing import Pairing, PairingError, format_pairing, parse_pairing

# boto3's own retries, unlike in the instance's processes: here a person waits, and a few seconds are the limit.
_CONFIG = Config(
    connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 3, "mode": "standard"}
)

RUN_TAG = "Run"
"""Of an instance: the run that it works for; as in terraform/locals.tf."""


class GroupInstance(NamedTuple):
    """One instance of the group; `state` is EC2's ("running"), `run_id` the run that it was launched for, if known."""

    instance_id: str
    instance_type: str
    zone: str
    state: str
    launched_at: datetime
    run_id: str | None

    def __str__(self) -> str:
        return f"{self.instance_id} ({self.instance_type} in {self.zone})"


class Group(NamedTuple):
    """How many instances are wanted, the one that works, and how many exist, those included that are ending."""

    desired: int
    instance: GroupInstance | None
    existing: int


class Cloud:
    """AWS, as far as one deployment goes: `objects` and `record` are the run's folder in its bucket."""

    def __init__(self, deployment: AppliedDeployment) -> None:
        self.deployment = deployment
        self.run_id = deployment.run_id
        bucket = BucketConfig(name=deployment.bucket, region=deployment.region)
        self.objects = open_store(bucket, run_prefix(self.run_id))
        self.record = RunRecord(self.objects)
        self._autoscaling = boto3.client("autoscaling", region_name=deployment.region, config=_CONFIG)
        self._ec2 = boto3.client("ec2", region_name=deployment.region, config=_CONFIG)
        self._ssm = boto3.client("ssm", region_name=deployment.region, config=_CONFIG)

    def group(self) -> Group:
        """The group as it is now. Raises OperatorError when it does not exist."""
        name = self.deployment.group
        groups = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        if not groups:
            raise OperatorError(
                f"The Auto Scaling group {name} does not exist in {self.deployment.region}: the deployment was "
                "destroyed, or these credentials belong to another account. `terraform -chdir=terraform apply` makes "
                "it."
            )
        members = groups[0].get("Instances", [])
        working = [one["InstanceId"] for one in members if not one["LifecycleState"].startswith(("Terminat", "Detach"))]
        return Group(groups[0]["DesiredCapacity"], self._newest(working) if working else None, len(members))

    def _newest(self, instances: list[str]) -> GroupInstance | None:
        # By filter: an instance that EC2 does not show yet is then absent instead of an error.
        answer = self._ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": instances}])
        found = [
            GroupInstance(
                shown["InstanceId"],
                str(shown["InstanceType"]),
                shown["Placement"].get("AvailabilityZone", "?"),
                str(shown["State"]["Name"]),
                shown["LaunchTime"],
                next((tag.get("Value") for tag in shown.get("Tags", []) if tag.get("Key") == RUN_TAG), None),
            )
            for reservation in answer["Reservations"]
            for shown in reservation.get("Instances", [])
        ]
        return max(found, key=lambda one: one.launched_at, default=None)

    def other_run(self, instance: GroupInstance | None) -> str | None:
        """The sentence to tell when the instance works for another run than the deployment speaks of; None if not."""
        ours = self.deployment.run_id
        if instance is None or instance.run_id in (None, ours):
            return None
        return (
            f"{instance} works for the run {instance.run_id}, while this deployment is for the run {ours}. If "
            f"DEPLOYMENT names a file, it may be an old one: write it anew. Else `make stop` saves {instance.run_id} "
            f"and ends it, and `make start` then begins {ours}."
        )

    def failure(self) -> tuple[datetime, str] | None:
        """When the group's newest attempt began and what Auto Scaling says of it; None unless it came to nothing."""
        name = self.deployment.group
        answer = self._autoscaling.describe_scaling_activities(AutoScalingGroupName=name, MaxRecords=1)
        for newest in answer["Activities"]:
            if newest["StatusCode"] in ("Failed", "Cancelled"):
                return newest["StartTime"], newest.get("StatusMessage", "")
        return None

    def set_desired(self, capacity: int) -> None:
        """Ask for 0 or 1 instances."""
        self._autoscaling.set_desired_capacity(
            AutoScalingGroupName=self.deployment.group, DesiredCapacity=capacity, HonorCooldown=False
        )

    def schedule_end(self, moment: datetime) -> None:
        """Let the scheduled action, the guard outside the instance, set the desired capacity to 0 at `moment`."""
        self._autoscaling.put_scheduled_update_group_action(
            AutoScalingGroupName=self.deployment.group,
            ScheduledActionName=self.deployment.schedule,
            StartTime=moment,
            DesiredCapacity=0,
        )

    def spot_price(self, instance: GroupInstance) -> float | None:
        """The instance's spot price now, in US dollars an hour; None when AWS tells none."""
        history: Any = self._ec2.describe_spot_price_history(
            InstanceTypes=[instance.instance_type],  # type: ignore[list-item]  # the stubs know literals only
            AvailabilityZone=instance.zone,
            ProductDescriptions=["Linux/UNIX"],
            StartTime=datetime.now(UTC),
            MaxResults=1,
        )["SpotPriceHistory"]
        return float(history[0]["SpotPrice"]) if history else None

    def endpoint(self) -> Endpoint | None:
        """Where the newest instance that got so far listens; None before the first."""
        text = self._parameter(self.deployment.endpoint_parameter)
        if text == UNSET:
            return None
        try:
            return msgspec.json.decode(text, type=Endpoint)
        except msgspec.MsgspecError:
            raise OperatorError(
                f"The parameter {self.deployment.endpoint_parameter} does not hold an address. An instance writes it "
                "at boot: `make stop`, `make start`."
            ) from None

    def forget_endpoint(self) -> None:
        """Let the next instance choose by which certificate bridges know it, whatever they were paired with."""
        self._ssm.put_parameter(Name=self.deployment.endpoint_parameter, Value=UNSET, Type="String", Overwrite=True)

    def present_endpoint(self, instance: GroupInstance | None) -> Endpoint | None:
        """The endpoint, when it was written by the instance that is there now; else None."""
        if instance is None:
            return None
        found = self.endpoint()
        return found if found is not None and found.instance_id == instance.instance_id else None

    def pairing(self, endpoint: Endpoint) -> Pairing:
        """How to reach that receiver, with the present token. Raises OperatorError, without the token in its text."""
        token = self._parameter(self.deployment.token_parameter, secret=True)
        try:
            return parse_pairing(format_pairing(Pairing(endpoint.host, endpoint.port, token, endpoint.pin)))
        except PairingError as error:
            raise OperatorError(
                f"The parameters of {self.deployment.name} make no pairing string: {error} `make rotate-token` writes "
                "a new token."
            ) from None

    def dashboard_token(self) -> str:
        """What the dashboard asks for; a secret."""
        return self._parameter(self.deployment.dashboard_parameter, secret=True)

    def store_token(self, token: str) -> None:
        """Make `token` the one that bridges must show; the instance takes it over within about a minute."""
        self._ssm.put_parameter(Name=self.deployment.token_parameter, Value=token, Type="SecureString", Overwrite=True)

    def _parameter(self, name: str, secret: bool = False) -> str:
        try:
            return self._ssm.get_parameter(Name=name, WithDecryption=secret)["Parameter"].get("Value", "")
        except self._ssm.exceptions.ParameterNotFound:
            raise OperatorError(
                f"The parameter {name} does not exist in {self.deployment.region}. Run `terraform -chdir=terraform "
                "apply`; it makes what is missing."
            ) from None

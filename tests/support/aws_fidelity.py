"""Where moto differs from AWS in what this project uses, one function per defect: what AWS does, moto does, the mend.

`mend_moto()` applies them all, once per process. Each is held by a test in tests/terraform/test_aws_server.py or by the
applied stack, which does not apply, plan clean or vanish without it. It mends nothing that the project does not use.
"""

import copy
import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import moto.autoscaling.models as autoscaling_models
import moto.budgets.responses as budgets_responses
import moto.ec2.models.elastic_ip_addresses as ec2_addresses
import moto.ec2.models.instances as ec2_instances
import moto.ec2.models.launch_templates as launch_templates
import moto.ec2.responses.spot_instances as spot_responses
import moto.s3.models as s3_models
import moto.s3.utils as s3_utils
import moto.ssm.models as ssm_models
from moto.core.responses import ActionResult
from moto.ec2.utils import parse_user_data
from moto.iam.access_control import IAMPolicy, PermissionResult

PUBLIC_PARAMETERS = {
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id": "ami-0a1b2c3d4e5f607",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ami-0c1d2e3f4a5b607",
}
"""The AMIs' public parameters; the values are made up, moto takes any image id."""

PRICES = Path(__file__).parents[2] / "terraform" / "prices.json"


def typical_spot_prices() -> dict[str, float]:
    """Instance type to spot price in USD per hour, from terraform/prices.json."""
    known = json.loads(PRICES.read_text(encoding="utf-8"))["instance_types"]
    return {name: float(entry["spot_usd_per_hour"]) for name, entry in known.items()}


spot_prices: dict[str, float] = {}
"""Instance type to spot price in USD per hour that DescribeSpotPriceHistory answers with; a type not here has none."""


def set_spot_prices(prices: Mapping[str, float] | None) -> None:
    """Answer with `prices` from now on; None means the typical ones."""
    spot_prices.clear()
    spot_prices.update(typical_spot_prices() if prices is None else prices)


@functools.cache
def mend_moto() -> None:
    """Apply every mend of this file to the moto of this process."""
    delete_markers_can_be_deleted()
    listings_survive_deletions_beside_them()
    listings_leave_contents_alone()
    template_tags_stay_off_the_instance()
    later_template_versions_can_be_launched()
    instances_have_their_templates_volumes_and_tags()
    instances_have_a_type_of_their_groups_list()
    group_updates_keep_what_they_do_not_name()
    deny_without_tls_spares_everybody_else()
    public_ami_parameters_exist()
    spot_price_history_is_plausible()
    budgets_tell_their_subscribers_and_tags()
    terminated_instances_let_go_of_their_address()
    primary_interfaces_go_with_their_instance()
    deleted_groups_take_their_schedules_along()
    elastic_addresses_are_no_loopback_addresses()


def _replace(owner: Any, name: str, new: Any) -> Any:
    """Put `new` in the place of `owner.name`; the former one comes back."""
    former = getattr(owner, name, None)
    setattr(owner, name, new)
    return former


def delete_markers_can_be_deleted() -> None:
    """AWS deletes a delete marker like any version; moto's has no dispose(), so emptying a versioned bucket fails."""
    _replace(s3_models.FakeDeleteMarker, "dispose", lambda _marker: None)


def listings_survive_deletions_beside_them() -> None:
    """AWS lists a bucket while others delete from it; moto stumbles over a key that is gone when its turn comes."""

    def lists(self: Any) -> Iterator[tuple[str, list[Any]]]:
        return ((key, versions) for key, versions in former(self) if versions is not None)

    former = _replace(s3_utils._VersionedKeyStore, "iterlists", lists)


def listings_leave_contents_alone() -> None:
    """moto copies the content of every object for each list of versions, which with an environment of 370 MB in the
    bucket and Terraform's hundred lists fills the disk; the copies here borrow what they would copy."""

    class Borrowed:
        def __init__(self, buffer: Any) -> None:
            self._buffer = buffer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._buffer, name)

        def close(self) -> None:
            pass

    def borrow(self: Any, _memo: dict[int, Any]) -> Any:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__ | {"_value_buffer": Borrowed(self._value_buffer), "multipart": None})
        return twin

    _replace(s3_models.FakeKey, "__deepcopy__", borrow)


def template_tags_stay_off_the_instance() -> None:
    """AWS takes the tags of a launch template itself out of its data; moto returns them there, so a plan differs."""

    def create(self: Any, backend: Any, name: str, template_data: dict[str, Any], *rest: Any, **named: Any) -> None:
        specifications = template_data.pop("TagSpecifications", None) or []
        inner = [one for one in specifications if one.get("ResourceType") != "launch-template"]
        if inner:
            template_data["TagSpecifications"] = inner
        former(self, backend, name, template_data, *rest, **named)

    former = _replace(launch_templates.LaunchTemplate, "__init__", create)


def later_template_versions_can_be_launched() -> None:
    """AWS launches from any version of a template; moto reads the user data of the first one only, and a group that
    launches from a later one fails."""

    def create(self: Any, data: dict[str, Any], *rest: Any) -> Any:
        if isinstance(data.get("UserData"), str):
            data["UserData"] = parse_user_data(data["UserData"])
        return former(self, data, *rest)

    former = _replace(launch_templates.LaunchTemplate, "create_version", create)


def instances_have_their_templates_volumes_and_tags() -> None:
    """AWS makes the instance of a launch template and its volumes with the template's tags; moto forgets the tags and
    makes a second root volume on the same device, which outlives the instance."""

    def run(self: Any, *args: Any, **named: Any) -> Any:
        reservation = former(self, *args, **named)
        if not named.get("launch_template"):
            return reservation
        data = self._get_template_from_args(named["launch_template"]).data
        tags: dict[str, dict[str, str]] = {"instance": {}, "volume": {}}
        for one in data.get("TagSpecifications", []):
            tags.setdefault(one["ResourceType"], {}).update({tag["Key"]: tag["Value"] for tag in one.get("Tags", [])})
        for instance in reservation.instances:
            mapped = [device.volume_id for device in instance.block_device_mapping.values()]
            self.create_tags(mapped, tags["volume"])
            self.create_tags([instance.id], tags["instance"])
            for volume in list(self.volumes.values()):
                if volume.id not in mapped and volume.attachment and volume.attachment.instance is instance:
                    del self.volumes[volume.id]
        return reservation

    former = _replace(ec2_instances.InstanceBackend, "run_instances", run)


def deny_without_tls_spares_everybody_else() -> None:
    """AWS applies a bucket policy's statement only where its Condition holds; moto ignores conditions, so that a deny
    for requests without TLS denies all. Conditional statements are left out here."""

    def permission(self: Any, action: str, resource: str) -> Any:
        if self.policy is None:
            return PermissionResult.NEUTRAL
        document = json.loads(self.policy.decode())
        statements = document["Statement"]
        listed = statements if isinstance(statements, list) else [statements]
        document["Statement"] = [one for one in listed if not one.get("Condition")]
        return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)

    _replace(s3_models.FakeBucket, "get_permission", permission)


def public_ami_parameters_exist() -> None:
    """AWS publishes the ids of its AMIs as SSM parameters; moto knows those of Amazon Linux only."""

    def load(self: Any, key: str) -> None:
        former(self, key)
        value = PUBLIC_PARAMETERS.get(key)
        if value is not None and not dict.get(self, key):
            parameter = ssm_models.Parameter(  # type: ignore[abstract]  # moto itself makes it so
                account_id=self.account_id,
                name=key,
                value=value,
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=datetime.now(UTC),
                version=1,
                data_type="text",
            )
            dict.__setitem__(self, key, [parameter])

    former = _replace(ssm_models.ParameterDict, "_check_loading_status", load)


def spot_price_history_is_plausible() -> None:
    """AWS states the price in force at StartTime, per type, zone and product; moto states 0.00001 USD of 2006 for
    thousands of types, and nothing at all with a filter for the product."""

    def history(self: Any) -> ActionResult:
        filters = self._filters_from_querystring()
        types = self._get_param("InstanceTypes", []) or filters.get("instance-type") or sorted(spot_prices)
        products = self._get_param("ProductDescriptions", []) or filters.get("product-description") or ["Linux/UNIX"]
        zones = [zone.name for zone in self.ec2_backend.describe_availability_zones()]
        wanted = filters.get("availability-zone") or [self._get_param("AvailabilityZone")]
        chosen = [zone for zone in zones if wanted == [None] or zone in wanted]
        since = self._get_param("StartTime") or datetime.now(UTC) - timedelta(hours=6)
        found = [
            {
                "InstanceType": kind,
                "ProductDescription": product,
                "SpotPrice": f"{spot_prices[kind]:.6f}",
                "AvailabilityZone": zone,
                "Timestamp": since,
            }
            for kind in types
            if kind in spot_prices
            for product in products
            for zone in chosen
        ]
        return ActionResult({"SpotPriceHistory": found})

    _replace(spot_responses.SpotInstances, "describe_spot_price_history", history)


def budgets_tell_their_subscribers_and_tags() -> None:
    """AWS tells a budget's subscribers and its tags; moto keeps the former to itself and forgets the latter."""
    key = "ResourceTags"

    def create(self: Any) -> str:
        answer: str = former(self)
        name = self._get_param("Budget")["BudgetName"]
        self.backend.budgets[self._get_param("AccountId")][name].resource_tags = self._get_param(key, []) or []
        return answer

    def subscribers(self: Any) -> str:
        budget = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")]
        wanted = _notification(self._get_param("Notification"))
        found = [one.subscribers for one in budget.notifications if _notification(one.details) == wanted]
        return json.dumps({"Subscribers": found[0] if found else []})

    def tags(self: Any) -> str:
        account, name = self._get_param("ResourceARN").split("::")[1].split(":budget/")
        budget = self.backend.budgets[account].get(name)
        return json.dumps({key: getattr(budget, "resource_tags", [])})

    former = _replace(budgets_responses.BudgetsResponse, "create_budget", create)
    _replace(budgets_responses.BudgetsResponse, "describe_subscribers_for_notification", subscribers)
    _replace(budgets_responses.BudgetsResponse, "list_tags_for_resource", tags)


def _notification(details: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one notification of a budget from another."""
    names = ("NotificationType", "ComparisonOperator", "ThresholdType")
    return (*(details.get(name) for name in names), float(details["Threshold"]))


def terminated_instances_let_go_of_their_address() -> None:
    """AWS frees an Elastic IP when its instance ends; moto leaves it on the dead instance, so that a replacement that
    forgot to ask for reassociation would fail here and not there, and DescribeAddresses would name a dead one."""

    def terminate(self: Any, instance_ids: list[str]) -> Any:
        ended = former(self, instance_ids)
        for address in self.addresses:
            if address.instance is not None and address.instance.id in instance_ids:
                address.instance = address.eni = address.association_id = None
        return ended

    former = _replace(ec2_instances.InstanceBackend, "terminate_instances", terminate)


def primary_interfaces_go_with_their_instance() -> None:
    """AWS deletes the interface that it made for an instance along with it; moto leaves it in the network."""

    def run(self: Any, *args: Any, **named: Any) -> Any:
        reservation = former(self, *args, **named)
        for instance in reservation.instances:
            for interface in instance.nics.values():
                interface.delete_on_termination = True
        return reservation

    former = _replace(ec2_instances.InstanceBackend, "run_instances", run)


def instances_have_a_type_of_their_groups_list() -> None:
    """AWS launches one of the types that a mixed-instances policy lists; moto takes the template's, which has none."""

    def instance_type(self: Any) -> str:
        policy = self.mixed_instances_policy or {}
        overrides = policy.get("LaunchTemplate", {}).get("Overrides") or [{}]
        kind: str = overrides[0].get("InstanceType") or former.fget(self)
        return kind

    former = autoscaling_models.FakeAutoScalingGroup.__dict__["instance_type"]
    _replace(autoscaling_models.FakeAutoScalingGroup, "instance_type", property(instance_type))


def group_updates_keep_what_they_do_not_name() -> None:
    """AWS keeps a group's mixed-instances policy when an update does not mention it; moto drops it."""

    def update(self: Any, *args: Any, **named: Any) -> None:
        if named.get("mixed_instances_policy") is None and self.mixed_instances_policy is not None:
            kept = copy.deepcopy(self.mixed_instances_policy)
            # moto itself put the name beside the id, and refuses both together.
            kept["LaunchTemplate"]["LaunchTemplateSpecification"].pop("LaunchTemplateName")
            named["mixed_instances_policy"] = kept
        former(self, *args, **named)

    former = _replace(autoscaling_models.FakeAutoScalingGroup, "update", update)


def deleted_groups_take_their_schedules_along() -> None:
    """AWS deletes a group's scheduled actions with it; moto keeps them."""

    def delete(self: Any, group_name: str) -> None:
        former(self, group_name)
        actions = self.scheduled_actions
        for name in [name for name, action in actions.items() if action.auto_scaling_group_name == group_name]:
            del actions[name]

    former = _replace(autoscaling_models.AutoScalingBackend, "delete_auto_scaling_group", delete)


def elastic_addresses_are_no_loopback_addresses() -> None:
    """AWS hands out public addresses; moto's begin with 127, which a packet never leaves its machine for."""
    numbers = itertools.count(1)
    _replace(ec2_addresses, "random_ip", lambda: f"198.51.100.{next(numbers) % 254 + 1}")

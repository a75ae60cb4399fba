"""What a plan cannot show: every variable and output explains itself, everything carries tags, every wildcard has its
reason, and the training settings are those of train_cloud/run_config.py."""

import json
import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import boto3
import hcl2
import msgspec
import pytest
from msgspec import Meta

from tests.support.aws_fidelity import PRICES
from tests.support.stack import ROOT
from train_cloud.run_config import DEFAULTS, BucketConfig, RunConfig

TERRAFORM = ROOT / "terraform"
OPTIONS = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False)
NOT_A_USERS = {
    *("run_id", "bucket", "public_host", "listen_host", "listen_port", "wandb_project", "wandb_entity"),
    *("tls_certificate", "tls_key"),
}
SETTINGS = json.loads((TERRAFORM / "training_settings.json").read_text(encoding="utf-8"))["settings"]
PARTS: dict[str, type[msgspec.Struct]] = {
    one.name: one.type
    for one in msgspec.structs.fields(RunConfig)
    if isinstance(one.type, type) and issubclass(one.type, msgspec.Struct) and one.type is not BucketConfig
}
UNTAGGABLE = {
    "aws_autoscaling_schedule",
    "aws_iam_role_policy",
    "aws_launch_template.tag_specifications",
    "aws_route",
    "aws_route53_record",
    "aws_route_table_association",
    "aws_s3_bucket_lifecycle_configuration",
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_policy",
    "aws_s3_bucket_public_access_block",
    "aws_s3_bucket_server_side_encryption_configuration",
    "aws_s3_bucket_versioning",
}
BY_DEFAULT_TAGS = {
    "aws_budgets_budget",
    "aws_cloudwatch_log_group",
    "aws_default_security_group",
    "aws_eip",
    "aws_iam_instance_profile",
    "aws_iam_role",
    "aws_internet_gateway",
    "aws_launch_template",
    "aws_route_table",
    "aws_s3_bucket",
    "aws_s3_object",
    "aws_security_group",
    "aws_ssm_parameter",
    "aws_subnet",
    "aws_vpc",
    "aws_vpc_endpoint",
    "aws_vpc_security_group_egress_rule",
    "aws_vpc_security_group_ingress_rule",
}
"""Types whose tags tests/terraform/test_applied.py reads back from AWS."""


def read(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8") as file:
        return hcl2.load(file, serialization_options=OPTIONS)


def blocks(kind: str) -> dict[str, Any]:
    """All blocks of `kind` in the configuration, by their labels joined with a dot."""
    found: dict[str, Any] = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        for block in read(path).get(kind, []):
            for first, body in block.items():
                nested = kind in ("resource", "data", "ephemeral") and first != "__comments__"
                found |= {f"{first}.{name}": inner for name, inner in body.items()} if nested else {first: body}
    return found


VARIABLES = blocks("variable")


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_is_typed_described_and_validated(name: str) -> None:
    variable = VARIABLES[name]
    assert variable["type"]
    assert len(variable["description"]) > 20
    if variable["type"] != "bool":
        assert variable["validation"], f"{name} takes any value"


@pytest.mark.parametrize("name", VARIABLES)
def test_a_validation_says_what_to_write_instead(name: str) -> None:
    for validation in VARIABLES[name].get("validation", []):
        assert re.search(r"Write|Name |Copy|Set|leave", validation["error_message"]), validation["error_message"]


def test_each_validation_is_broken_once_by_terraform_test() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (TERRAFORM / "tests").glob("*.tftest.hcl"))
    for name, variable in VARIABLES.items():
        assert text.count(f"    var.{name},") >= len(variable.get("validation", [])), name


def test_an_output_describes_itself() -> None:
    for name, output in blocks("output").items():
        assert len(output["description"]) > 20, name


def test_every_resource_is_tagged() -> None:
    (provider, *_) = [block["aws"] for block in read(TERRAFORM / "providers.tf")["provider"]]
    assert provider["default_tags"][0]["tags"] == "${local.tags}"
    for name, body in blocks("resource").items():
        kind = name.split(".")[0]
        if kind == "aws_autoscaling_group":
            (tag,) = [one["tag"] for one in body["dynamic"] if "tag" in one]
            assert tag["content"][0]["propagate_at_launch"] is True
        elif kind != "terraform_data":
            # Which is in the state alone.
            assert kind in UNTAGGABLE | BY_DEFAULT_TAGS, f"are {kind} tagged? Say so in this test"


@pytest.mark.slow
def test_a_wildcard_in_the_role_has_its_reason_beside_it() -> None:
    document = blocks("data")["aws_iam_policy_document.instance"]
    statements = document["statement"] + [one["statement"]["content"][0] for one in document["dynamic"]]
    reasons = 0
    for statement in statements:
        wild = [resource for resource in statement["resources"] if "*" in resource]
        comments = [comment["value"] for comment in statement.get("__comments__", [])]
        assert bool(wild) == any(text.startswith("wildcard:") for text in comments), statement
        assert not any("*" in action for action in statement["actions"]), statement
        reasons += bool(wild)
    assert reasons >= 5


def test_checkpoints_and_experience_never_expire() -> None:
    for rule in blocks("resource")["aws_s3_bucket_lifecycle_configuration.run"]["rule"]:
        for expiration in rule.get("expiration", []):
            assert set(expiration) - {"__comments__"} == {"expired_object_delete_marker"}


def test_no_setting_of_a_run_is_said_again_in_terraform() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in TERRAFORM.glob("*.tf"))
    # An environment, the names of its settings and a link are words that stand for much else here.
    names = {name for name in SETTINGS if not name.startswith(("environment", "link"))}
    said = {name for name in names if re.search(rf"\b{name.removeprefix('task.')}\b", text)}
    # What some have to do with each other; what follows from the accelerator; an example in a message.
    related = {"updates_per_step", "total_timesteps", "learning_starts", "gamma", "horizon_seconds"}
    assert said - {"network"} <= related | {"device"} | {"method", "task", "task.control_hz"}


def test_the_training_variable_has_the_settings_of_a_run() -> None:
    inner = {f"{part}.{name}" for part, kind in PARTS.items() for name in kind.__struct_fields__}
    assert set(SETTINGS) == {*RunConfig.__struct_fields__} - NOT_A_USERS | inner


def test_the_training_variable_has_the_defaults_of_a_run() -> None:
    for name in set(SETTINGS) - set(PARTS):
        part, _, inner = name.rpartition(".")
        (field,) = [one for one in msgspec.structs.fields(PARTS.get(part, RunConfig)) if one.name == inner]
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        rows = {row: held[name] for row, held in DEFAULTS.items() if name in held}
        assert SETTINGS[name]["default"] == rows.pop("any", default), name
        assert SETTINGS[name].get("defaults", {}) == rows, name


def limits_of(kind: type, prefix: str = "") -> dict[str, tuple[float | None, float | None, float | None, bool]]:
    """Least, exclusive least, most and wholeness of each number in a settings struct."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is None or not hasattr(hint, "__metadata__"):
            continue
        (meta,) = [one for one in hint.__metadata__ if isinstance(one, Meta)]
        number = get_args(hint)[0]
        if number in (int, float):
            found[prefix + name] = (meta.ge, meta.gt, meta.le, number is int)
    return found


def test_the_training_variable_has_the_limits_of_a_run() -> None:
    expected = limits_of(RunConfig)
    for name, part in PARTS.items():
        expected |= limits_of(part, f"{name}.")
    for name in set(expected) - NOT_A_USERS:
        row = SETTINGS[name]
        limits = (row.get("minimum"), row.get("exclusiveMinimum"), row.get("maximum"))
        assert (*limits, not re.search(row["json"], "0.5")) == expected[name], name


def test_the_example_has_three_lines_to_edit_and_names_only_variables() -> None:
    text = (TERRAFORM / "terraform.tfvars.example").read_text(encoding="utf-8")
    assert set(hcl2.loads(text, serialization_options=OPTIONS)) - {"__comments__"} == {
        "region",
        "home_cidrs",
        "alert_email",
    }
    commented = set(re.findall(r"^# (\w+) +=", text, flags=re.MULTILINE))
    assert commented == set(VARIABLES) - {"region", "home_cidrs", "alert_email", "wandb_key"}


def test_the_regions_are_aws_own() -> None:
    (listed,) = [one["regions"] for one in read(TERRAFORM / "place.tf")["locals"]]
    session = boto3.session.Session()
    known = {
        name
        for partition in ("aws", "aws-cn", "aws-us-gov")
        for name in session.get_available_regions("ec2", partition)
    }
    assert set(listed) <= known
    assert len(listed) == len(set(listed)) > 30


def test_the_prices_cover_the_default_types() -> None:
    defaults = next(one["default_instance_types"] for one in read(TERRAFORM / "locals.tf")["locals"] if "name" in one)
    known = json.loads(PRICES.read_text(encoding="utf-8"))["instance_types"]
    for accelerator, names in defaults.items():
        assert len(names) >= 3, accelerator
        for name in names:
            assert 0 < known[name]["spot_usd_per_hour"] < known[name]["on_demand_usd_per_hour"]
            assert (known[name]["gpu"] is None) == (accelerator == "cpu")

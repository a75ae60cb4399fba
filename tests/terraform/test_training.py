"""What Terraform lets pass as a setting of the run, the run's own reader takes; what it refuses, it refuses by name."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts.settings import users_settings
from tests.support.stack import ROOT, terraform, terraform_environment
from tests.support.tools import need_tools
from train_cloud.run_config import parse_run_config

pytestmark = [pytest.mark.terraform]

SETTINGS = {one.name: one.schema for one in users_settings() if one.meaning}


def number_of(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema of a setting that is a number, or may be left out."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 and kinds[0].get("type") in ("integer", "number") else None


BOOLEANS = {name for name, schema in SETTINGS.items() if schema.get("type") == "boolean"}
NUMBERS = {name: number for name, schema in SETTINGS.items() if (number := number_of(schema))}


class Variable:
    """The variable `training` and what Terraform makes of it, alone in a configuration without a provider."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inner = folder / "terraform"
        (inner / "templates").mkdir(parents=True)
        for file in ("training_settings.json", "templates/wrong_settings.tftpl"):
            shutil.copy(ROOT / "terraform" / file, inner / file)
        variables = (ROOT / "terraform" / "variables.tf").read_text(encoding="utf-8")
        local = (ROOT / "terraform" / "locals.tf").read_text(encoding="utf-8")
        (declared,) = re.findall(r'^variable "training" \{.*?^\}\n', variables, flags=re.DOTALL | re.MULTILINE)
        (read,) = re.findall(r"^  settings = .*\n", local, flags=re.MULTILINE)
        (made,) = re.findall(r"^  training = \{.*?^  \) if .*?\}\n", local, flags=re.DOTALL | re.MULTILINE)
        output = 'output "training" {\n  value = jsonencode(local.training)\n}\n'
        (inner / "main.tf").write_text(f"{declared}locals {{\n{read}{made}}}\n{output}", encoding="utf-8")

    def apply(self, training: Any) -> tuple[str, str]:
        """What comes of it as JSON, and what Terraform complains of, as one line; one of them is empty."""
        given = self.folder / "terraform" / "terraform.tfvars.json"
        given.write_text(json.dumps({"training": training}), encoding="utf-8")
        done = terraform(self.folder, terraform_environment(), "apply", "-auto-approve", "-input=false")
        if done.returncode != 0:
            return "", " ".join(done.stderr.replace("│", " ").split())
        return terraform(self.folder, terraform_environment(), "output", "-raw", "training").stdout, ""

    def refusal(self, training: Any) -> str:
        made, complaint = self.apply(training)
        assert made == ""
        return complaint


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Variable:
    need_tools("terraform")
    return Variable(tmp_path_factory.mktemp("training"))


def as_given(values: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name in the shape in which a user writes them."""
    given: dict[str, Any] = {}
    for name, value in values.items():
        part, _, inner = name.rpartition(".")
        (given.setdefault(part, {}) if part else given)[inner] = value
    return given


def past_the_end(schema: dict[str, Any], end: str) -> Any:
    if end == "maximum":
        return schema["maximum"] + 1
    return schema["minimum"] - 1 if "minimum" in schema else schema["exclusiveMinimum"]


@pytest.mark.parametrize("end", ["minimum", "maximum"])
def test_each_number_beyond_its_end_is_named(variable: Variable, end: str) -> None:
    bounded = {name: past_the_end(schema, end) for name, schema in NUMBERS.items()}
    assert len(bounded) >= 26
    complaint = variable.refusal(as_given(bounded))
    for name, value in bounded.items():
        assert f"training.{name} has the value {value}: expected a " in complaint


@pytest.mark.parametrize("wrong", [True, "too much", {"a": 1}, [[1]]], ids=repr)
def test_each_setting_of_another_kind_is_named(variable: Variable, wrong: Any) -> None:
    complaint = variable.refusal(as_given(dict.fromkeys(SETTINGS, wrong)))
    of_this_kind = {bool: BOOLEANS, dict: {"environment.kwargs", "link"}}.get(type(wrong), set())
    for name in set(SETTINGS) - of_this_kind:
        assert f"training.{name} has the value {json.dumps(wrong, separators=(',', ':'))}: expected" in complaint


def test_a_part_of_a_whole_is_named(variable: Variable) -> None:
    whole = [name for name, schema in NUMBERS.items() if schema["type"] == "integer"]
    complaint = variable.refusal(as_given({name: NUMBERS[name]["minimum"] + 0.5 for name in whole}))
    for name in whole:
        assert f"training.{name} has the value" in complaint


@pytest.mark.parametrize(
    ("training", "complaint"),
    [
        ({"batchsize": 64}, "training.batchsize has the value 64: there is no such setting."),
        ({"batchsize": 64}, "The nearest name is batch_size."),
        ({"control_hz": 25}, "there is no such setting. The nearest name is task.control_hz."),
        ({"total_timestep": 9, "gama": 1}, "there is no such setting. The nearest name is gamma."),
        ({"q": None}, "training.q has the value null: there is no such setting. The nearest name is "),
        ({"task": {"control_herz": 25}}, "training.task.control_herz has the value 25: there is no such setting."),
        ({"task": {"control_herz": 25}}, "The nearest name is task.control_hz."),
        ({"run_id": "other"}, 'training.run_id has the value "other": there is no such setting.'),
        ({"task": 25}, "training.task has the value 25: expected an object of settings."),
        ({"method": "a2c"}, '"a2c": expected "crossq" or "dqn" or "ppo" or "sac" or "tqc" or "xqc".'),
        ({"device": "gpu"}, "training.device has the value"),
        ({"network": []}, "training.network has the value []"),
        ({"network": [8] * 9}, "training.network has the value [8,8,8,8,8,8,8,8,8]"),
        ({"critic_network": [256, 0]}, "training.critic_network has the value [256,0]"),
        ({"critic_network": [9000]}, "training.critic_network has the value [9000]"),
        ({"network": [0.5]}, "training.network has the value [0.5]"),
        ({"total_timesteps": 500}, "training.total_timesteps leaves no step to learn from."),
        ({"total_timesteps": 2000, "method": "tqc"}, "training.total_timesteps leaves no step to learn from."),
        ({"total_timesteps": 2000, "environment": {"kind": "gymnasium"}}, "leaves no step to learn from."),
        ({"updates_per_step": 0.1, "total_timesteps": 509}, "leaves no step to learn from."),
        ({"gamma": 0.98}, "training.gamma is of Gymnasium environments alone"),
        ({"horizon_seconds": 4, "environment": {"kind": "gymnasium"}}, "training.horizon_seconds of racing"),
        ("sac", "training is no object of settings."),
        ([{"method": "sac"}], "training is no object of settings."),
    ],
)
def test_a_mistake_is_refused_in_a_sentence(variable: Variable, training: Any, complaint: str) -> None:
    assert complaint in variable.refusal(training)


def test_what_passes_is_read_by_the_run_ends_included(variable: Variable) -> None:
    least = {name: schema.get("minimum", 1e-9) for name, schema in NUMBERS.items()} | {"updates_per_step": 1}
    most = {name: schema["maximum"] for name, schema in NUMBERS.items()} | {"learning_starts": 0}
    remote = {
        "environment.kind": "gymnasium",
        "environment.id": "my_game:MyEnv",
        "environment.source": "remote",
        "environment.kwargs": {"g": 9.8, "deep": {"levels": [1, 2]}, "name": "7", "none": None},
    }
    others = {
        "method": "crossq",
        "device": "cuda:1",
        "target_entropy": -2.5,
        "network": [1],
        "critic_network": [8192] * 8,
    }
    for values in (least | {"total_timesteps": 1, "target_entropy": "auto"}, most | others):
        values |= remote
        del values["horizon_seconds"]
        made, complaint = variable.apply(as_given(values))
        assert complaint == ""
        run = parse_run_config(json.dumps(json.loads(made) | {"run_id": "a", "bucket": {"name": "abc"}}).encode())
        for name, value in values.items():
            part, _, inner = name.rpartition(".")
            assert getattr(getattr(run, part) if part else run, inner) == value, name


def test_what_is_null_is_left_out_and_a_number_may_be_text(variable: Variable) -> None:
    given = {"seed": None, "task": {"control_hz": "25", "progress_scale": None}, "tau": "0.9", "target_entropy": "-2"}
    made, _ = variable.apply(given)
    assert json.loads(made) == {"task": {"control_hz": 25}, "tau": 0.9, "target_entropy": -2}
    for few in ({}, {"total_timesteps": 501}, {"horizon_seconds": 4}, {"method": "ppo", "total_timesteps": 2001}):
        assert variable.apply(few) == (json.dumps(few, separators=(",", ":")), "")
    assert variable.apply({"task": None}) == ("{}", "")

"""The instance's settings: what Terraform may write, and the sentences for what it may not."""

import json
from pathlib import Path

import pytest

from tests.support.instance import INSTANCE
from train_cloud.instance.config import ConfigError, load_instance_config


def refusal(folder: Path, **changes: object) -> str:
    file = folder / "instance.json"
    file.write_text(json.dumps(INSTANCE | changes))
    with pytest.raises(ConfigError) as refused:
        load_instance_config(file)
    return str(refused.value)


def test_the_settings_are_read_from_json(tmp_path: Path) -> None:
    file = tmp_path / "instance.json"
    file.write_text(json.dumps(INSTANCE | {"wandb_parameter": None, "log_group": None}))
    config = load_instance_config(file)
    assert (config.name, config.budget_usd, config.wandb_parameter) == ("ac-test", 20.0, None)


def test_an_unknown_field_is_refused_with_its_value_and_the_known_names(tmp_path: Path) -> None:
    text = refusal(tmp_path, budget=20)
    assert "unknown field `budget` (value 20)" in text
    assert "budget_usd" in text


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("endpoint_mode", "dns", "'eip' or 'ssm'"),
        ("budget_usd", 0, "> 0"),
        ("token_parameter", "token", "regex"),
        ("max_launches", 0, ">= 1"),
        ("tensorboard_host", "10.0.0.1", "'127.0.0.1', '0.0.0.0' or '::'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_what_is_allowed(
    tmp_path: Path, field: str, value: object, allowed: str
) -> None:
    text = refusal(tmp_path, **{field: value})
    assert f"`{field}` has the value {json.dumps(value)}" in text
    assert allowed in text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read .* Give the path of an instance\.json"):
        load_instance_config(tmp_path / "none.json")

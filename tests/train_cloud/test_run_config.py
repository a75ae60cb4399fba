"""The run's configuration: what it accepts, and the sentences with which it refuses."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from experience.environment import racing
from racing.link_model import read_link
from racing.task import TaskConfig
from tests.support.runs import boxes
from train_cloud.environment import bridge_options, environment_of, task_config
from train_cloud.run_config import (
    DEFAULTS,
    ConfigError,
    RunConfig,
    TaskSettings,
    defaults_of,
    load_run_config,
    parse_run_config,
)

SMALLEST: dict[str, Any] = {"run_id": "monza-1", "bucket": {"name": "my-bucket"}}


def refusal(**changes: object) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_run_config(json.dumps(SMALLEST | changes).encode())
    return str(refused.value)


def test_the_smallest_configuration_names_a_run_and_a_bucket() -> None:
    config = parse_run_config(json.dumps(SMALLEST).encode())
    assert (config.run_id, config.bucket.name, config.bucket.endpoint_url) == ("monza-1", "my-bucket", None)
    assert config.method == "sac"
    assert config.network == [64, 64]


@pytest.mark.parametrize(("kind", "id"), [("racing", None), ("gymnasium", "Pendulum-v1")])
@pytest.mark.parametrize("method", ["sac", "tqc", "crossq", "xqc", "dqn", "ppo"])
def test_what_is_left_out_is_what_suits_the_method_and_what_is_written_counts(
    kind: str, id: str | None, method: str
) -> None:
    chosen = SMALLEST | {"method": method, "environment": {"kind": kind, "id": id}}
    config = parse_run_config(json.dumps(chosen).encode())
    for name, value in defaults_of(kind, method).items():
        assert getattr(config, name) == value, name
    unsettled = {one.name for one in msgspec.structs.fields(RunConfig) if one.default is None}
    left = {name for name in unsettled if getattr(config, name) is None}
    other = "gamma" if kind == "racing" else "horizon_seconds"
    files = {"tls_certificate", "tls_key"}
    assert left == {other, "critic_network", "link", "write_telemetry", "wandb_project", "wandb_entity"} | files
    own = {"batch_size": 512, "learning_rate": 1e-3, "network": [32]}
    changed = parse_run_config(json.dumps(chosen | own).encode())
    assert changed == msgspec.structs.replace(config, **own)
    assert parse_run_config(msgspec.json.encode(changed)) == changed, "as it was written, whatever later defaults are"


def test_every_default_is_a_value_that_its_field_may_have() -> None:
    kinds = {"any": {}, "racing": {}, "gymnasium": {"environment": {"kind": "gymnasium", "id": "Pendulum-v1"}}}
    for row, values in DEFAULTS.items():
        kind, _, method = row.rpartition(" ")
        chosen = kinds.get(kind or row, {}) | ({"method": method} if method not in kinds else {})
        parse_run_config(json.dumps(SMALLEST | chosen | values).encode())


def test_a_horizon_is_the_same_time_at_any_rate() -> None:
    for rate in (20, 60):
        chosen = {"horizon_seconds": 5, "task": {"control_hz": rate}}
        config = parse_run_config(json.dumps(SMALLEST | chosen).encode())
        assert config.discount ** (5 * rate) == pytest.approx(math.exp(-1))
    point = parse_run_config(json.dumps(SMALLEST | {"environment": POINT, "gamma": 1.0}).encode())
    assert point.discount == 1.0


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    config = msgspec.structs.replace(parse_run_config(json.dumps(SMALLEST).encode()), method="tqc", network=[64])
    file = tmp_path / "run.json"
    file.write_bytes(msgspec.json.encode(config))
    assert load_run_config(file) == config


def test_the_task_settings_are_those_of_the_task() -> None:
    settings = {field.name: field.default for field in msgspec.structs.fields(TaskSettings)}
    assert settings == {field.name: field.default for field in dataclasses.fields(TaskConfig)}


def test_an_unknown_field_is_refused_with_its_name_value_and_the_known_names() -> None:
    text = refusal(batchsize=64)
    assert "`batchsize`" in text
    assert "64" in text
    assert "batch_size" in text


def test_an_unknown_field_in_a_part_is_refused_with_its_whole_path() -> None:
    text = refusal(task={"control_herz": 30})
    assert "`task.control_herz`" in text
    assert "control_hz" in text


@pytest.mark.parametrize(
    ("changes", "name", "value", "allowed"),
    [
        ({"batch_size": 0}, "`batch_size`", "0", ">= 1"),
        ({"gamma": 1.5}, "`gamma`", "1.5", "<= 1"),
        ({"method": "a2c"}, "`method`", '"a2c"', "'sac', 'tqc', 'crossq', 'xqc', 'dqn' or 'ppo'"),
        ({"ppo": {"epochs": 0}}, "`ppo.epochs`", "0", ">= 1"),
        ({"dqn": {"final_epsilon": 2}}, "`dqn.final_epsilon`", "2", "<= 1"),
        ({"method": "ppo", "ppo": {"rollout_steps": 128}}, "`ppo.rollout_steps`", "128", "`batch_size` (256)"),
        ({"method": "ppo", "ppo": {"rollout_steps": 4096}}, "`ppo.rollout_steps`", "4096", "`max_lead_steps` (2000)"),
        ({"method": "ppo", "batch_size": 1}, "`batch_size`", "1", "2 or more"),
        ({"target_entropy": "low"}, "`target_entropy`", '"low"', "expected a number or 'auto'"),
        ({"public_host": "1.2.3.4:8765"}, "`public_host`", '"1.2.3.4:8765"', "without a scheme or a port"),
        ({"public_host": "wss://pc"}, "`public_host`", '"wss://pc"', "without a scheme or a port"),
        ({"tls_certificate": "chain.pem"}, "`tls_certificate`", "`tls_key`", "expected both, or neither"),
        (
            {"public_host": "203.0.113.7", "tls_certificate": "chain.pem", "tls_key": "key.pem"},
            *("`public_host`", "203.0.113.7", "expected the name"),
        ),
        (
            {"public_host": "example.org", "tls_certificate": "/etc/chain.pem", "tls_key": "key.pem"},
            *("`tls_key`", '"key.pem"', "expected a whole path"),
        ),
        ({"gamma": 0.98}, "`gamma`", "0.98", "`horizon_seconds`"),
        ({"environment": {"kind": "gymnasium", "id": "a"}, "horizon_seconds": 4}, "`horizon_seconds`", "4", "`gamma`"),
        ({"horizon_seconds": 0}, "`horizon_seconds`", "0", "> 0"),
        ({"batch_size": None}, "`batch_size`", "null", "expected `int`"),
        ({"total_timesteps": 10}, "`total_timesteps`", "10", "`learning_starts` (500)"),
        ({"total_timesteps": 2000, "method": "tqc"}, "`total_timesteps`", "2000", "at least one update"),
        ({"learning_rate": "fast"}, "`learning_rate`", '"fast"', "float"),
        ({"network": [256, 0]}, "`network[1]`", "0", ">= 1"),
        ({"task": {"control_hz": 500}}, "`task.control_hz`", "500", "<= 60"),
        ({"wandb_project": "my/laps"}, "`wandb_project`", '"my/laps"', "regex"),
        ({"wandb_entity": "my-team"}, "`wandb_entity`", '"my-team"', "`wandb_project` is missing"),
        ({"run_id": "../other"}, "`run_id`", '"../other"', "regex"),
        ({"bucket": {"name": "my-bucket", "endpoint_url": "localhost:5000"}}, "`bucket.endpoint_url`", "local", "http"),
        ({"bucket": {}}, "`bucket.name`", "null", "one of them"),
        ({"bucket": {"name": "my-bucket", "folder": "/data"}}, "`bucket.folder`", '"/data"', "one of them"),
        ({"bucket": {"folder": ""}}, "`bucket.folder`", '""', "regex"),
        ({"bucket": {"folder": "/data\0"}}, "`bucket.folder`", '"/data\\u0000"', "regex"),
        ({"bucket": {"folder": "data/runs"}}, "`bucket.folder`", '"data/runs"', "expected a whole path"),
        ({"bucket": {"folder": "~/runs"}}, "`bucket.folder`", '"~/runs"', "expected a whole path"),
        ({"bucket": {"folder": "/data", "endpoint_url": "http://a"}}, "`bucket.endpoint_url`", "http://a", "none"),
        ({"bucket": {"folder": "/data", "region": "eu-west-1"}}, "`bucket.region`", "eu-west-1", "none"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_and_what_is_allowed(
    changes: dict[str, object], name: str, value: str, allowed: str
) -> None:
    text = refusal(**changes)
    assert name in text
    assert value in text
    assert allowed in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::7", "pc", "my-pc.example.org"])
def test_a_receiver_is_reached_by_a_name_or_an_address(host: str) -> None:
    assert parse_run_config(json.dumps(SMALLEST | {"public_host": host}).encode()).public_host == host


POINT = {"kind": "gymnasium", "id": "my_game:Point", "source": "remote"}


def test_a_remote_environment_is_made_with_its_arguments() -> None:
    kwargs = {"g": 9.8, "deep": {"a": [1]}}
    point = POINT | {"kwargs": kwargs, "num_envs": 4}
    chosen = parse_run_config(json.dumps(SMALLEST | {"environment": point}).encode()).environment
    assert (chosen.source, chosen.kwargs, chosen.num_envs) == ("remote", kwargs, 4)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"source": "remote"}, "a car drives on its own PC"),
        (POINT | {"source": "bridge", "kwargs": {"g": 9.8}}, "a bridge makes its environment by itself"),
        (POINT | {"source": "bridge", "num_envs": 2}, "a bridge makes its environment by itself"),
        (POINT | {"source": "bridge", "step_seconds": 5.0}, "a bridge makes its environment by itself"),
        (POINT | {"source": "bridge", "make_seconds": 5.0}, "a bridge makes its environment by itself"),
        (POINT | {"step_seconds": 0}, "`environment.step_seconds`"),
        (POINT | {"make_seconds": 86_401}, "`environment.make_seconds`"),
        (POINT | {"source": "driver"}, "only racing tells of its car by telemetry"),
        ({"source": "driver", "num_envs": 2}, '`environment.source` is "driver"'),
        (POINT | {"source": "cloud"}, "expected 'bridge', 'remote' or 'driver'"),
    ],
)
def test_who_acts_and_where_must_fit_together(environment: dict[str, object], words: str) -> None:
    assert words in refusal(environment=environment)


def test_a_driver_in_the_cloud_drives_for_methods_that_learn_from_older_policies() -> None:
    driven = {"source": "driver"}
    assert parse_run_config(json.dumps(SMALLEST | {"environment": driven}).encode()).environment.source == "driver"
    assert "expected one that learns from steps of older policies" in refusal(environment=driven, method="ppo")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"kind": "gymnasium"}, '`environment.id` has the value null, but `environment.kind` is "gymnasium"'),
        ({"id": "Pendulum-v1"}, '`environment.id` has the value "Pendulum-v1", but `environment.kind` is "racing"'),
        ({"kind": "flying"}, "expected 'racing' or 'gymnasium'"),
        ({"kind": "racing", "gravity": 9.8}, "`environment.gravity`"),
        ({"kind": "gymnasium", "id": "Toy-v0", "track": "a" * 64}, "`environment.track`"),
        ({"kind": "gymnasium", "id": "x" * 200}, "`environment.id`"),
        ("Pendulum-v1", "`environment`"),
    ],
)
def test_an_environment_that_is_none_is_refused_in_a_sentence(environment: object, words: str) -> None:
    assert words in refusal(environment=environment)


def test_racing_is_an_environment_like_any_other_and_the_one_that_is_meant_where_none_is_named() -> None:
    smallest, named = (
        parse_run_config(json.dumps(SMALLEST | more).encode()) for more in ({}, {"environment": {"kind": "racing"}})
    )
    assert smallest == named
    known = environment_of(named)
    assert known is not None
    assert known.signature == racing(task_config(named)).signature
    other = parse_run_config(json.dumps(SMALLEST | {"environment": {"kind": "gymnasium", "id": "Toy-v0"}}).encode())
    assert environment_of(other) is None, "its spaces are said by the first that has it"
    # The very same spaces under another name: one way from a space to a layout and a signature.
    toy = environment_of(other, [known.spaces.text])
    assert toy is not None
    assert (toy.spaces, toy.spaces.layout) == (known.spaces, known.spaces.layout)
    assert toy.signature != known.signature


def test_the_arguments_of_a_remote_environment_are_part_of_its_signature() -> None:
    known = [boxes(2, 1).text]
    signatures = set()
    for kwargs in ({}, {"g": 9.8}, {"g": 9.81}):
        config = parse_run_config(json.dumps(SMALLEST | {"environment": POINT | {"kwargs": kwargs}}).encode())
        environment = environment_of(config, known)
        assert environment is not None
        signatures.add(environment.signature)
    assert len(signatures) == 3


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"`bucket` is missing"):
        parse_run_config(b'{"run_id": "a"}')


def test_a_file_that_is_no_json_or_not_there_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid JSON"):
        parse_run_config(b"{run_id: 1}")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_run_config(tmp_path / "absent.json")


def test_every_field_of_the_configuration_is_documented() -> None:
    source = Path(__file__).parents[2] / "train_cloud" / "run_config.py"
    lines = source.read_text(encoding="utf-8").splitlines()
    for field in msgspec.structs.fields(RunConfig):
        at = next(number for number, line in enumerate(lines) if line.startswith(f"    {field.name}: "))
        following = next(line for line in lines[at + 1 :] if not line.startswith(("        ", "    )", "    ]")))
        assert following.strip().startswith('"""'), field.name


LINK = {"version": 1, "delays": [0.04, 0.05, 0.08], "stalls_per_second": 0.2, "stall_seconds": 0.4}


def test_a_link_makes_another_environment_that_its_recording_makes_on_the_pc_too(tmp_path: Path) -> None:
    config = parse_run_config(json.dumps(SMALLEST | {"link": LINK}).encode())
    (tmp_path / "link.json").write_text(json.dumps(LINK), encoding="utf-8")
    chosen = environment_of(config)
    assert chosen is not None
    assert chosen.signature == racing(task_config(config), read_link(tmp_path / "link.json")).signature
    assert chosen.signature != racing(task_config(config)).signature
    assert bridge_options(config).endswith("--link FILE")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"delays": [0.2, 0.1]}, "the field `link` holds no link. `delays` has 0.2 before 0.1"),
        ({"delays": [0.1]}, "`delays` has 1 numbers"),
        ({"delays": [0.1, 9.0]}, "link.delays"),
        ({"version": 2}, "link.version"),
        ({"stalls_per_second": -1}, "link.stalls_per_second"),
        ({"other": 1}, "unknown field `link.other`"),
    ],
)
def test_an_absurd_link_is_refused_by_name(change: dict[str, object], says: str) -> None:
    assert says in refusal(link=LINK | change)


def test_only_cars_have_a_link() -> None:
    assert "the field `link`" in refusal(link=LINK, environment={"kind": "gymnasium", "id": "CartPole-v1"})

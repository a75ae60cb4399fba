"""`make settings`: writes what other languages and readers are told of a run's settings, from their one declaration.

That is racing/task_config.py for what a car is asked to do, and train_cloud/run_config.py for the rest. From it come
terraform/training_settings.json, by which Terraform refuses a wrong setting before anything is paid for, and
docs/settings.md. A test is red while either is stale.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from train_cloud import run_config
from train_cloud.run_config import DEFAULTS, BucketConfig, RunConfig

ROOT = Path(__file__).resolve().parents[1]
OF_TERRAFORM = {
    *("run_id", "bucket", "public_host", "listen_host", "listen_port", "wandb_project", "wandb_entity"),
    *("tls_certificate", "tls_key"),
}
"""What Terraform writes into run.json by itself, and files of one's own; all else is in the variable `training`."""
_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to"}
_NOTE = "Written by `make settings` from `racing/task_config.py` and `train_cloud/run_config.py`: change those."
_HEAD = f"""# The settings of a run

{_NOTE}

They stand in `run.json`; on AWS Terraform writes it, from the variable `training` and, for those marked *, from others.
A dot stands for an object there, `"task": {{"control_hz": 25}}`. What begins with `task.` is said to each bridge as
well: `--rate 25` for `task.control_hz`, `--task progress_scale=0.2` and so on for the others. Some defaults are others
for one `environment.kind`, for one `method`, or for one method in one kind: these stand after its name.

| setting | default | unit | expected | what it means |
|---|---|---|---|---|
"""


class Setting(NamedTuple):
    """One setting: its dotted name in run.json, its JSON Schema, its default ("required" without one), its meaning.

    `defaults` are others, by the rows of DEFAULTS that have them. A part of run.json with settings of its own has no
    meaning here, and stands before them.
    """

    name: str
    schema: dict[str, Any]
    default: Any
    meaning: str
    defaults: Mapping[str, Any] = MappingProxyType({})


def settings() -> list[Setting]:
    """All settings of a run, in the order of their declaration."""
    defaults = msgspec.to_builtins(RunConfig(run_id="", bucket=BucketConfig()))
    return list(_settings_of("RunConfig", "", msgspec.json.schema(RunConfig)["$defs"], defaults))


def users_settings() -> list[Setting]:
    """Those that a user may choose by Terraform's variable `training`."""
    return [one for one in settings() if one.name.split(".")[0] not in OF_TERRAFORM]


def _settings_of(part: str, prefix: str, parts: dict[str, Any], defaults: dict[str, Any]) -> Iterator[Setting]:
    source = inspect.getsource(getattr(run_config, part))
    meanings = dict(re.findall(r'^    (\w+): (?:.*\n)+?    """(.*)"""$', source, re.MULTILINE))
    for name, schema in parts[part]["properties"].items():
        if inner := schema.get("$ref"):
            yield Setting(prefix + name, {"type": "object"}, {}, "")
            yield from _settings_of(inner.removeprefix("#/$defs/"), f"{prefix}{name}.", parts, defaults[name])
        else:
            by_row = {row: held[name] for row, held in DEFAULTS.items() if part == "RunConfig" and name in held}
            usual = by_row.pop("any", None) if by_row else defaults[name]
            default = "required" if name in parts[part].get("required", ()) else usual
            yield Setting(prefix + name, schema, default, schema.get("description") or meanings[name], by_row)


def _form(schema: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """What a value may be: in words, as a regular expression for its JSON text, and the schema of the numbers in it."""
    match schema:
        case {"anyOf": choices}:
            # A setting that is null in run.json is left out here.
            words, texts, numbers = zip(*(_form(one) for one in choices if one.get("type") != "null"), strict=True)
            return " or ".join(words), "|".join(texts), next(filter(None, numbers), {})
        case {"enum": values}:
            return " or ".join(map(json.dumps, values)), "|".join(map(json.dumps, values)), {}
        case {"type": "integer" | "number" as kind}:
            within = "".join(f" {word} {schema[key]:,}" for key, word in _LIMITS.items() if key in schema)
            whole = kind == "integer"
            words = "a whole number" if whole else "a number"
            return words + within, f"-?[0-9]+{'' if whole else '[0-9.e+-]*'}", schema
        case {"type": "boolean"}:
            return "true or false", "true|false", {}
        case {"type": "array", "items": items, "minItems": least, "maxItems": most}:
            words, text, number = _form(items)
            listed = rf"\[{text}(,{text}){{{least - 1},{most - 1}}}\]"
            return f"a list of {least} to {most}, each {words}", listed, number
        case {"type": "string", "pattern": pattern}:
            return f"text like `{pattern}`", f'"{pattern.removeprefix("^").removesuffix("$")}"', {}
        case {"type": "string"}:
            return "text", '".*"', {}
        case {"type": "object"} | {"$ref": _}:
            return "an object of settings", r"\{.*\}", {}
    raise TypeError(f"Terraform and docs/settings.md cannot be told of {schema}; add its kind to {__name__}")


def for_terraform() -> str:
    """The text of terraform/training_settings.json: a user's settings by name, one a line."""
    rows = []
    for one in users_settings():
        words, text, number = _form(one.schema)
        unit = f" ({number['unit']})" if "unit" in number else ""
        limits = {key: number[key] for key in _LIMITS if key in number}
        row = {"json": f"^({text})$", **limits, "default": one.default, "expected": words + unit}
        row |= {"defaults": one.defaults} if one.defaults else {}
        rows.append(f"{json.dumps(one.name)}: {json.dumps(row)}")
    lines = ",\n    ".join(rows)
    return f'{{\n  "note": {json.dumps(_NOTE)},\n  "settings": {{\n    {lines}\n  }}\n}}\n'


def _listed(one: Setting) -> str:
    """The defaults of a setting, for people."""
    usual = [] if one.default is None and one.defaults else [f"`{json.dumps(one.default)}`"]
    return ", ".join(usual + [f"{row} `{json.dumps(value)}`" for row, value in one.defaults.items()])


def for_people() -> str:
    """The text of docs/settings.md."""
    rows, users = "", users_settings()
    for one in settings():
        words, _, number = _form(one.schema)
        default = one.default if one.default == "required" else _listed(one)
        cells = (f"`{one.name}`{'' if one in users else ' *'}", default, number.get("unit", ""), words, one.meaning)
        if one.meaning:
            rows += "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    return _HEAD + rows


COPIES = {ROOT / "terraform" / "training_settings.json": for_terraform, ROOT / "docs" / "settings.md": for_people}


if __name__ == "__main__":
    for path, text in COPIES.items():
        path.write_text(text(), encoding="utf-8", newline="\n")
        print(f"wrote {path.relative_to(ROOT)}")

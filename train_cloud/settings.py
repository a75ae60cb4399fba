"""Settings files: JSON read into a typed struct, refused in sentences.

A field that is unknown, missing or out of range is named with its dotted path, the value that was found and what is
allowed. What no single field's type can say is left to the struct's own module.
"""

import json
import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

_Settings = TypeVar("_Settings", bound=msgspec.Struct)


class ConfigError(ValueError):
    """The configuration cannot be used; the text says which field, its value and what is allowed."""


def load_settings(path: str | Path, kind: type[_Settings], what: str, wanted: str) -> _Settings:
    """The settings in the JSON file at `path`.

    `what` begins the sentence when the file cannot be read ("The run's configuration"), `wanted` says what file it
    should be ("a run.json"). Raises ConfigError.
    """
    file = Path(path)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{what} {file} cannot be read ({error.strerror}). Give the path of {wanted}.") from error
    return parse_settings(text, kind, str(file))


def parse_settings(text: bytes, kind: type[_Settings], source: str) -> _Settings:
    """The settings in `text` (JSON); `source` names it in errors. Raises ConfigError."""
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source} is not valid JSON ({error}). Mend the file and start again.") from error
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), raw, kind)}") from None


def _explain(problem: str, raw: Any, kind: type[msgspec.Struct]) -> str:
    """msgspec's message with the field's dotted name, its value and, for an unknown name, the known ones."""
    message, _, where = problem.partition(" - at `")
    steps = re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", where.rstrip("`"))
    path = "".join(f".{name}" if name else f"[{index}]" for name, index in steps).lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", message)
    missing = re.search(r"missing required field `([^`]*)`", message)
    if unknown:
        name = ".".join(filter(None, [path, unknown[1]]))
        value = _value_at(raw, [*steps, (unknown[1], "")])
        known = ", ".join(_type_at(kind, steps).__struct_fields__)
        return f"unknown field `{name}` (value {value}). Allowed here: {known}."
    if missing:
        name = ".".join(filter(None, [path, missing[1]]))
        return f"the field `{name}` is missing, and it has no default. Add it."
    allowed = message[:1].lower() + message[1:]
    if "enum" in message:
        allowed = "expected " + _choices(kind, steps)
    subject = f"the field `{path}`" if path else "the file"
    return f"{subject} has the value {_value_at(raw, steps)}: {allowed}."


def _choices(root: type[msgspec.Struct], steps: list[tuple[str, str]]) -> str:
    """What the field at `steps`, one with a Literal in its type, may hold: `'sac' or 'tqc'`, `a number or 'auto'`."""
    kind = _type_at(root, steps)
    words: list[str] = []
    for part in (kind,) if get_origin(kind) is Literal else get_args(kind):
        literal = get_origin(part) is Literal
        words += map(repr, get_args(part)) if literal else ["a number" if part is float else part.__name__]
    return ", ".join(words[:-1]) + " or " + words[-1]


def _value_at(raw: Any, steps: list[tuple[str, str]]) -> str:
    value = raw
    for name, index in steps:
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return "unknown"
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _type_at(root: type[msgspec.Struct], steps: list[tuple[str, str]]) -> Any:
    """The annotated type of the field at `steps`; an index stays with the list that it points into."""
    kind: Any = root
    for name, _ in steps:
        kind = get_type_hints(kind)[name] if name else kind
        if isinstance(kind, UnionType):
            # What may be left out is a struct, or nothing.
            kind = next((one for one in get_args(kind) if hasattr(one, "__struct_fields__")), kind)
    return kind

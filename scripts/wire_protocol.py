"""`make protocol`: writes docs/wire-protocol.md, every message of a bridge and a receiver, from their declaration.

Fields, types, bounds, defaults and docstrings are those of wire/messages.py; nothing of a message is said here a
second time. A test is red while the page is stale.
"""

import ast
import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import inspect as types

from wire import messages

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "wire-protocol.md"
SIDES = {
    "What a bridge says": get_args(messages.UpMessage),
    "What a receiver says": get_args(messages.DownMessage),
}
_HEAD = f"""# The wire protocol

Written by `make protocol` from `wire/messages.py`: change that.

A bridge dials the receiver's one port: WebSocket over TLS, subprotocol `{messages.PROTOCOL}`, HTTP Basic with the token
of the pairing string ([security.md](security.md)). A binary frame holds one message as MessagePack, a text frame the
same as JSON, where bytes are base64; either side may use either, frame by frame. A message is a map whose `type` names
it. Unknown fields, wrong types and values out of bounds are refused. A field with a default may be left out.

The order of things: `hello`, `welcome`, then batches up and acknowledgements, pace and weights down, until one side
hangs up. Batches are numbered 1, 2, 3 in each stream, sent in order, and forgotten by the bridge only when the receiver
calls them safe (`wire/delivery.py`). What is inside a batch's `blob` is said in `experience/codec.py`; environments
that are stepped from the cloud have a page of their own, [protocol/README.md](protocol/README.md), with the JSON Schema
of their messages and examples in bytes.
"""


def page() -> str:
    """The text of docs/wire-protocol.md."""
    text = _HEAD
    for side, said in SIDES.items():
        text += f"\n## {side}\n"
        for info in types.multi_type_info(said):
            assert isinstance(info, types.StructType)
            text += f"\n### {info.tag}\n\n{_doc(info.cls)}\n\n" + _fields(info)
    text += "\n## Codes\n"
    for owner in (messages.Role, messages.ErrorCode, messages.EnvAction, messages.EnvErrorCode, messages.CloseCode):
        text += f"\n### {owner.__name__}\n\n{_doc(owner)}\n\n| value | what it means |\n|---|---|\n"
        for name, value, meaning in _members(owner):
            own = "" if name.lower() == value else f" {name.lower().replace('_', ' ')}"
            text += f"| `{value}`{own} | {meaning} |\n"
    text += "\n## Bounds\n\n| name | value | what it bounds |\n|---|---|---|\n"
    for name, meaning in _meanings(ast.parse(inspect.getsource(messages)).body):
        if name.startswith("MAX_"):
            text += f"| `{name}` | {getattr(messages, name):,} | {meaning} |\n"
    return text


def _doc(owner: type) -> str:
    return inspect.cleandoc(owner.__doc__ or "")


def _fields(info: types.StructType) -> str:
    """The fields as a table, with unit and meaning where they are declared."""
    meanings = any(isinstance(field.type, types.Metadata) for field in info.fields)
    heads = ("field", "unit", "what it is", "type", "default") if meanings else ("field", "type", "default")
    text = f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for field in info.fields:
        said = (isinstance(field.type, types.Metadata) and field.type.extra_json_schema) or {}
        meaning = [said.get("unit", ""), said.get("description", "")] if meanings else []
        default = "" if field.required else f"`{json.dumps(msgspec.to_builtins(field.default))}`"
        cells = [f"`{field.encode_name}`", *meaning, type_in_words(field.type).replace("|", "\\|"), default]
        text += f"| {' | '.join(cells)} |\n"
    return text


def type_in_words(kind: types.Type) -> str:
    """A declared type with its bounds, in words. Raises TypeError for one that no message has had so far."""
    match kind:
        case types.Metadata():
            return type_in_words(kind.type)
        case types.StructType():
            return f"a `{kind.tag}`"
        case types.BoolType():
            return "true or false"
        case types.NoneType():
            return "null"
        case types.IntType() | types.FloatType():
            return ("a whole number" if isinstance(kind, types.IntType) else "a number") + _limits(kind)
        case types.StrType(pattern=str(pattern)):
            return f"text like `{pattern}`"
        case types.StrType():
            return "text" + _length(kind, "characters")
        case types.BytesType():
            return "bytes" + _length(kind, "of them")
        case types.UnionType():
            return " or ".join(map(type_in_words, kind.types))
        case types.EnumType():
            return " or ".join(f"`{one.value}`" for one in kind.cls)
        case types.ListType() | types.VarTupleType():
            return f"a list{_length(kind, 'items')}, each {type_in_words(kind.item_type)}"
        case types.TupleType():
            items = [*map(type_in_words, kind.item_types)]
            each = f"each {items[0]}" if len(set(items)) == 1 else ", ".join(items)
            return f"a list of {len(items)}, {each}"
    raise TypeError(f"docs/wire-protocol.md cannot be told of {kind}; add its kind to {__name__}")


def _limits(kind: types.IntType | types.FloatType) -> str:
    words = {"from": kind.ge, "above": kind.gt, "up to": kind.le, "below": kind.lt}
    return "".join(f" {word} {_number(bound)}" for word, bound in words.items() if bound is not None)


def _number(bound: float) -> str:
    if bound == 2**53 - 1:
        return "2^53 - 1"
    return f"{bound:,.0f}" if math.isfinite(bound) and bound == int(bound) else f"{bound:g}"


def _length(kind: Any, unit: str) -> str:
    least, most = kind.min_length or 0, kind.max_length
    if most is None:
        return f" of {least:,} {unit} or more" if least else ""
    return f", {least:,} to {most:,} {unit}" if least else f", at most {most:,} {unit}"


def _members(owner: type) -> Iterator[tuple[str, str, str]]:
    """Name, value and meaning of a class's constants."""
    (declaration,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(declaration, ast.ClassDef)
    for name, meaning in _meanings(declaration.body):
        yield name, str(getattr(owner, name)), meaning


def _meanings(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each assigned name with the text that stands under it, which may be none."""
    for one, after in zip(body, [*body[1:], None], strict=True):
        match one:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and after.value.value
                yield name, " ".join(said.split()) if isinstance(said, str) else ""


def main() -> None:
    """Write it."""
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

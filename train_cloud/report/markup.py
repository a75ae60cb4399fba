"""HTML and SVG as text that is escaped unless it was made here, so that no value of a file can become markup."""

import html
from collections.abc import Iterable


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """The element `name` with its content, of which all that is no Markup is escaped.

    None and False are left out, also among attributes; a `_` in an attribute's name stands for `-`, one at its end for
    nothing (`class_`).
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inner = joined(content)
    if name in _EMPTY and not inner:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{inner}</{name}>")


def joined(content: Iterable[object], between: str = "") -> Markup:
    """The parts one after the other, escaped where they are no Markup; None and False are left out."""
    parts = (one for one in content if one is not None and one is not False)
    return Markup(between.join(one if isinstance(one, Markup) else html.escape(_plain(str(one))) for one in parts))


def _plain(text: str) -> str:
    """Without what no document may hold, and what turns the direction of writing for what follows."""
    return "".join(sign if sign.isprintable() or sign in "\n\t\u00a0" else "\ufffd" for sign in text)


_EMPTY = {"meta", "br", "hr", "img", "col"}

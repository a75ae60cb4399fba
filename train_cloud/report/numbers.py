"""Numbers out of documents that anybody may have written, and numbers as people read them."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from racing.car import FloatArray
from runtime.progress import duration

_GREATEST = 1e15


def number(document: Mapping[str, Any], name: str) -> float | None:
    """The finite number under `name`; None where there is none, or something else."""
    return finite(document.get(name))


def finite(value: object) -> float | None:
    """`value` as a float; None where it is no number of a sensible size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _GREATEST:
        return None
    return float(value)


def whole(document: Mapping[str, Any], name: str) -> int:
    """The number under `name`, rounded; 0 where there is none."""
    return round(number(document, name) or 0.0)


def numbers(value: object) -> list[float] | None:
    """A list of finite numbers; None where it is something else, or empty."""
    found = [finite(one) for one in value] if isinstance(value, list | tuple) else []
    known = [one for one in found if one is not None]
    return known if known and len(known) == len(found) else None


def table(value: object) -> dict[str, Any]:
    """`value` where it is a table; else an empty one."""
    return value if isinstance(value, dict) else {}


def lap(seconds: float | None) -> str:
    """`1:02.345`; a dash where there is none."""
    if seconds is None or not 0.0 <= seconds < _GREATEST:
        return "\u2013"
    thousandths = round(seconds * 1000.0)
    return f"{thousandths // 60_000}:{thousandths % 60_000 / 1000.0:06.3f}"


def signed(value: float | None, digits: int = 3) -> str:
    """With its sign and so many digits; a dash where there is none."""
    if value is None:
        return "\u2013"
    text = f"{abs(value):.{digits}f}"
    return ("\u2212" if value < 0 and float(text) else "+") + text


def plain(value: float | None, digits: int = 1, unit: str = "") -> str:
    """`12,345.6 m`; a dash where there is none."""
    # Whatever unit there is stays on the number's line.
    return "\u2013" if value is None else f"{value:,.{digits}f}" + (f"\u00a0{unit}" if unit else "")


def lasted(seconds: float | None) -> str:
    """`2h05m`; a dash where there is none."""
    return "\u2013" if seconds is None or seconds < 0 else duration(seconds)


def moment(value: object) -> datetime | None:
    """The time in an ISO 8601 text or in Unix seconds, in UTC; None where it is none."""
    try:
        at = (
            datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else datetime.fromisoformat(str(value))
        )
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError, OSError):
        return None


def at_text(value: object) -> str:
    """`2026-11-30 08:15 UTC`; a dash where it is no time."""
    at = moment(value)
    return "\u2013" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def thinned(count: int, most: int) -> "np.typing.NDArray[np.int64]":
    """Indices of at most `most` of `count` rows, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.arange(0)


def ticks(low: float, high: float, most: int) -> FloatArray:
    """At most about `most` round numbers within [low, high]."""
    span = high - low
    if not span > 0.0:
        return np.array([low])
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1.0 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return np.asarray(step * np.arange(first, math.floor(high / step + 1e-9) + 1))


def tick_texts(values: FloatArray) -> list[str]:
    """The numbers with as many digits as they need, thousands and millions shortened."""
    if not len(values):
        return []
    greatest = float(np.abs(values).max())
    scale, suffix = next(((s, t) for s, t in ((1e9, "G"), (1e6, "M"), (1e4, "k")) if greatest >= s), (1.0, ""))
    scale = 1e3 if suffix == "k" else scale
    texts = (f"{value / scale:.10g}" if abs(value) > 1e-12 * greatest else "0" for value in values)
    return [(text + suffix if text != "0" else text).replace("-", "\u2212") for text in texts]

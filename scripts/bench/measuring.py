"""What the benchmarks do alike: they take options, measure in turns, and print Markdown tables."""

import argparse
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

_Name = TypeVar("_Name", bound=Hashable)


def options(description: str | None, **wanted: tuple[Any, str]) -> argparse.Namespace:
    """The command line's `--name`s, each by its default, whose type it has (a tuple takes several), and its help.

    A default of False makes a switch.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    for name, (default, text) in wanted.items():
        if default is False:
            parser.add_argument(f"--{name}", action="store_true", help=text)
            continue
        several = isinstance(default, tuple)
        kind = type(default[0] if several else default)
        parser.add_argument(f"--{name}", type=kind, nargs="+" if several else None, default=default, help=text)
    return parser.parse_args()


def medians(measures: Mapping[_Name, Callable[[], float]], rounds: int) -> dict[_Name, float]:
    """The median of what each measure returns in `rounds` rounds; they take turns, so that noise meets all alike.

    One round more comes first and does not count: it warms up.
    """
    found: dict[_Name, list[float]] = {name: [] for name in measures}
    for _ in range(rounds + 1):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(figures[1:]) for name, figures in found.items()}


def seconds_of(call: Callable[[], object]) -> float:
    """How long one call takes, s."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def head(*headings: str) -> str:
    """A Markdown table's first two lines."""
    return f"{row(*headings)}\n|{'---|' * len(headings)}"


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"

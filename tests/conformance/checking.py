"""Runs checks one after the other and says how each went."""

import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")


class Failed(Exception):
    """The peer does not do what docs/protocol asks for; the text says what was seen."""


def expect(holds: bool, seen: str) -> None:
    """Raises Failed with what was seen, unless it `holds`."""
    if not holds:
        raise Failed(seen)


def run(checks: Iterable[Callable[[_T], None]], peer: _T, say: Callable[[str], None] = print) -> int:
    """How many of the checks failed; each says what it asks for in its first line of documentation."""
    failed = 0
    for check in checks:
        asked = (check.__doc__ or check.__name__).splitlines()[0]
        try:
            check(peer)
        except Failed as error:
            failed += 1
            say(f"FAILED  {asked}\n        {error}")
        except Exception as error:
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            say(f"FAILED  {asked}\n        {type(error).__name__} at {where.name}, line {where.lineno}: {error}")
        else:
            say(f"ok      {asked}")
    return failed

"""Where experience goes: the one thing that a recorder needs to know of a spool, a store or a test's list."""

from collections.abc import Mapping
from typing import Protocol


class SinkFull(RuntimeError):
    """There is no room for another batch now; nothing was changed. The text says of what there is too little."""


class Sink(Protocol):
    """Takes encoded batches, in order, and remembers how far each car has come."""

    def append(self, blob: bytes, steps: int, steps_by_car: Mapping[int, int] | None = None) -> int:
        """Commit what `encode_batch` returned and return its number, the one after the last.

        `steps` is how many it holds; `steps_by_car`, how many of these each car made, advances `steps_of_car`.
        Raises SinkFull where there is no room; nothing was changed.
        """

    def steps_of_car(self, car: int) -> int:
        """How many steps of this car were ever appended: the index of its next one."""

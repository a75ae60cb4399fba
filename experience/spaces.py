"""What an observation and an action hold: the one description that everything else is built from.

The task makes it for the car, and whoever brings another environment makes it from that environment's spaces. It
travels in Hello, is kept beside each stream, and its hash is part of a run's signature; columns of a batch, networks
and replay buffers follow from it. Every Gymnasium space has one canonical JSON form: two spaces that differ in any
bound or dtype have different texts, and equal ones the same text on every machine.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from gymnasium import spaces as gym

from experience.batches import DTYPES, CodecError, Column, Layout
from racing.task import Channel as Channel
from wire.messages import MAX_SPACES

MAX_NUMBERS: Final = 2**20
"""Most numbers that the spaces of one text may describe: a text of 30 characters could ask for any memory."""
MAX_DEPTH: Final = 8
MAX_AGENTS: Final = 4096
ROW: Final = (gym.Box, gym.Discrete, gym.MultiBinary, gym.MultiDiscrete)
"""Spaces whose values are rows of numbers, all of one size."""
_INFINITE: Final = {"inf": math.inf, "-inf": -math.inf}


class SpacesError(ValueError):
    """These spaces cannot be described, or this text describes none; the text says why."""


@dataclass(frozen=True, eq=False)
class SpaceSpec:
    """One space, and how its numbers travel.

    Attributes:
        space: what is valid.
        step: with it, a power of two, all values lie on the grid k * step, -32768 <= k <= 32767, and are float32.
        channels: what each column is, in order; empty where nobody has named them.
    """

    space: gym.Space[Any]
    step: float | None = None
    channels: tuple[Channel, ...] = ()

    @cached_property
    def column(self) -> Column:
        """A row of it in a batch; a Dict's or Tuple's is the bytes of its parts in order (see `experience.rows`).

        Raises SpacesError for a space whose values are not all of one size.
        """
        parts = leaves(self.space)
        try:
            if isinstance(self.space, ROW):
                return Column(math.prod(self.space.shape or ()), str(self.space.dtype), self.step)
            return Column(sum(map(leaf_bytes, parts)), "uint8", self.step)
        except CodecError as error:
            raise SpacesError(str(error)) from None

    def described(self) -> dict[str, Any]:
        """Everything that JSON says of it."""
        channels = [[channel.name, channel.unit, channel.scale] for channel in self.channels]
        return {"space": space_to_json(self.space), "step": self.step, "channels": channels}


@dataclass(frozen=True, eq=False)
class Spaces:
    """What one agent observes and does, and how many agents share one environment.

    Each agent's steps are runs of their own (see `experience.batches.Batch.run_cars`).
    """

    observation: SpaceSpec
    action: SpaceSpec
    agents: int = 1

    @cached_property
    def text(self) -> str:
        """The canonical JSON."""
        sides = {"observation": self.observation.described(), "action": self.action.described()}
        return canonical({**sides, "agents": int(self.agents)})

    @cached_property
    def layout(self) -> Layout:
        """The columns of a batch. Raises SpacesError where a space is no row of numbers."""
        return Layout(self.observation.column, self.action.column)

    def __eq__(self, other: object) -> bool:
        """Equal texts: Gymnasium's own comparison takes bounds that are only close for equal."""
        return isinstance(other, Spaces) and self.text == other.text

    def __hash__(self) -> int:
        """Of the text."""
        return hash(self.text)

    @staticmethod
    def parse(text: str) -> Spaces:
        """The spaces in a canonical text. Raises SpacesError for any other text, whoever wrote it."""
        if len(text) > MAX_SPACES:
            raise SpacesError(
                f"The description of the spaces has {len(text)} characters; at most {MAX_SPACES} are read."
            )
        try:
            said = json.loads(text)
            room = _Room()
            found = Spaces(_spec(said["observation"], room), _spec(said["action"], room), said["agents"])
            if not 1 <= found.agents <= MAX_AGENTS:
                raise SpacesError(f"An environment has 1 to {MAX_AGENTS} agents, not {found.agents}.")
            if found.text != text:
                raise SpacesError("The description of the spaces is not in its canonical form; use this project's own.")
            return found
        except SpacesError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AssertionError, OverflowError, RecursionError) as error:
            raise SpacesError(f"The description of the spaces cannot be read ({error}).") from None


def leaves(space: gym.Space[Any]) -> list[gym.Space[Any]]:
    """The parts of a Dict or Tuple, nested ones too, in order; of a space that is a row of numbers, itself.

    Raises SpacesError where a part is neither.
    """
    if isinstance(space, ROW):
        return [space]
    if isinstance(space, (gym.Dict, gym.Tuple)):
        inner = space.spaces.values() if isinstance(space, gym.Dict) else space.spaces
        return [leaf for part in inner for leaf in leaves(part)]
    raise SpacesError(
        f"The values of a {type(space).__name__} space are not of one size, so they cannot be recorded as rows. Wrap "
        "the environment so that it gives arrays of a fixed shape."
    )


def leaf_bytes(leaf: gym.Space[Any]) -> int:
    """Bytes of one value of a space that is a row of numbers."""
    return math.prod(leaf.shape or ()) * np.dtype(leaf.dtype).itemsize


def canonical(value: Any) -> str:
    """JSON in the one form of which hashes are taken: keys sorted, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def space_to_json(space: gym.Space[Any]) -> dict[str, Any]:
    """The space as JSON values. Raises SpacesError for a kind that Gymnasium does not have."""
    kind = type(space).__name__
    match space:
        case gym.Box():
            bounds = {"low": _bound(space.low), "high": _bound(space.high)}
            return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
        case gym.Discrete():
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
        case gym.MultiBinary():
            return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.shape)}
        case gym.MultiDiscrete():
            counts = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
            return {"type": "MultiDiscrete", "dtype": str(space.dtype), **counts}
        case gym.Text():
            lengths = {"min_length": int(space.min_length), "max_length": int(space.max_length)}
            # In their own order, by which they are drawn and flattened.
            return {"type": "Text", "characters": "".join(space.character_list), **lengths}
        case gym.Tuple() | gym.OneOf():
            return {"type": kind, "spaces": [space_to_json(inner) for inner in space.spaces]}
        case gym.Dict():
            # In their own order, which decides how they are flattened.
            return {"type": "Dict", "spaces": [[key, space_to_json(inner)] for key, inner in space.spaces.items()]}
        case gym.Sequence():
            return {"type": "Sequence", "space": space_to_json(space.feature_space), "stack": bool(space.stack)}
        case gym.Graph():
            edge = None if space.edge_space is None else space_to_json(space.edge_space)
            return {"type": "Graph", "node": space_to_json(space.node_space), "edge": edge}
    raise SpacesError(f"A {kind} is none of Gymnasium's own spaces; describe it by those.")


def space_text(space: gym.Space[Any]) -> str:
    """The canonical JSON of one space. Raises SpacesError for a kind that Gymnasium does not have."""
    return canonical(space_to_json(space))


def read_space(text: str) -> gym.Space[Any]:
    """The space in a canonical text. Raises SpacesError for any other text, whoever wrote it."""
    action = space_text(gym.Discrete(1))
    whole = f'{{"action":{_side(action)},"agents":1,"observation":{_side(text)}}}'
    return Spaces.parse(whole).observation.space


def _side(space: str) -> str:
    return f'{{"channels":[],"space":{space},"step":null}}'


class _Room:
    """Counts what a text asks for, so that nothing is allocated beyond MAX_NUMBERS."""

    def __init__(self) -> None:
        self._left = MAX_NUMBERS

    def take(self, shape: list[int]) -> tuple[int, ...]:
        if not all(isinstance(size, int) and 0 <= size <= MAX_NUMBERS for size in shape) or len(shape) > 32:
            raise SpacesError(f"A space cannot have the shape {shape}.")
        self._left -= math.prod(shape) + 1
        if self._left < 0:
            raise SpacesError(f"The spaces hold more than {MAX_NUMBERS} numbers.")
        return tuple(shape)


def _spec(said: dict[str, Any], room: _Room) -> SpaceSpec:
    channels = tuple(Channel(str(name), str(unit), float(scale)) for name, unit, scale in said["channels"])
    return SpaceSpec(_space(said["space"], room, MAX_DEPTH), said["step"], channels)


def _space(said: dict[str, Any], room: _Room, depth: int) -> gym.Space[Any]:
    """Inverse of space_to_json; raises whatever a wrong text leads to, which `Spaces.parse` turns into a sentence."""
    if depth == 0:
        raise SpacesError(f"The spaces are nested more than {MAX_DEPTH} deep.")

    def inner(value: dict[str, Any]) -> gym.Space[Any]:
        return _space(value, room, depth - 1)

    match said["type"]:
        case "Box":
            shape, dtype = room.take(said["shape"]), _dtype(said["dtype"])
            low, high = (_array(said[side], shape, dtype) for side in ("low", "high"))
            return gym.Box(low, high, shape, dtype.type)
        case "Discrete":
            room.take([])
            return gym.Discrete(said["n"], start=said["start"], dtype=_dtype(said["dtype"]).type)
        case "MultiBinary":
            size = said["n"]
            room.take(size if isinstance(size, list) else [size])
            return gym.MultiBinary(size)
        case "MultiDiscrete":
            dtype, counts = _dtype(said["dtype"]), np.array(said["nvec"])
            room.take(list(counts.shape))
            return gym.MultiDiscrete(counts, dtype=dtype.type, start=np.array(said["start"], dtype))
        case "Text":
            room.take([len(said["characters"])])
            return gym.Text(said["max_length"], min_length=said["min_length"], charset=said["characters"])
        case "Tuple":
            return gym.Tuple([inner(value) for value in said["spaces"]])
        case "OneOf":
            return gym.OneOf([inner(value) for value in said["spaces"]])
        case "Dict":
            return gym.Dict([(key, inner(value)) for key, value in said["spaces"]], sort_keys=False)
        case "Sequence":
            return gym.Sequence(inner(said["space"]), stack=said["stack"])
        case "Graph":
            node, edge = inner(said["node"]), said["edge"] and inner(said["edge"])
            return gym.Graph(node, edge)
    raise SpacesError(f"There is no space of the type {str(said['type'])[:40]!r}.")


def _dtype(name: str) -> np.dtype[Any]:
    if name not in (*DTYPES, "bool"):
        raise SpacesError(f"A space cannot have the dtype {str(name)[:40]!r}.")
    return np.dtype(name)


def _bound(values: np.ndarray[Any, Any]) -> Any:
    """One bound of a Box: a number where all are the same, else all of them in order; infinity as a word."""
    numbers = [str(number) if number in (math.inf, -math.inf) else number for number in values.ravel().tolist()]
    # By their bytes: a zero of the other sign is another number.
    return numbers[0] if numbers and values.tobytes() == values.ravel()[:1].tobytes() * len(numbers) else numbers


def _array(said: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if not isinstance(said, list):
        return np.full(shape, _INFINITE.get(said, said) if isinstance(said, str) else said, dtype)
    numbers = [_INFINITE.get(number, number) if isinstance(number, str) else number for number in said]
    return np.array(numbers, dtype).reshape(shape)

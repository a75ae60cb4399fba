"""What is asked of an environment on another machine, and answered: both sides build the bodies of calls here.

Bodies are `experience.values`: the keyword arguments of a request, and what the environment returned. An error's body
is its sentence.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from gymnasium import Space
from msgspec import Meta

from experience.spaces import SpacesError, read_space, space_text
from experience.values import ValuesError, pack, unpack

MAX_ENVIRONMENTS = 4096
MAX_SENTENCE = 4000
"""Most characters that are told of an error."""
_T = TypeVar("_T", bound=msgspec.Struct)


class CallError(ValueError):
    """A body is not what its call or answer asks for; the text says why."""


class Make(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make an environment; with `count` a vector of so many, else a single one.

    `kwargs` are those of the environment's maker. `render_mode` is Gymnasium's. `outside` is what becomes of values
    outside their space.
    """

    name: Annotated[str, Meta(max_length=128)]
    kwargs: dict[str, Any] = {}
    count: Annotated[int, Meta(ge=1, le=MAX_ENVIRONMENTS)] | None = None
    autoreset_mode: Literal["NextStep", "SameStep", "Disabled"] = "NextStep"
    render_mode: Annotated[str, Meta(max_length=32)] | None = None
    outside: Literal["warn", "refuse", "pass"] = "warn"


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin an episode: Gymnasium's own arguments; a vector's `options` may hold a `reset_mask`."""

    seed: int | list[int | None] | None = None
    options: dict[str, Any] | None = None


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The environment that was made: its single spaces in their canonical JSON, and its metadata."""

    observation_space: str
    action_space: str
    metadata: dict[str, Any]

    def spaces(self) -> tuple[Space[Any], Space[Any]]:
        """Of a single observation and a single action. Raises CallError."""
        try:
            return read_space(self.observation_space), read_space(self.action_space)
        except SpacesError as error:
            raise CallError(str(error)) from None


def made(observation_space: Space[Any], action_space: Space[Any], metadata: dict[str, Any]) -> Made:
    """Raises SpacesError for a space that is none of Gymnasium's own."""
    return Made(space_text(observation_space), space_text(action_space), metadata)


def body_of(message: msgspec.Struct) -> bytes:
    """The message as a body. Raises CannotTravel."""
    return pack(msgspec.structs.asdict(message))


def error_body(text: str) -> bytes:
    """The end of what there is to say of an error, which may be anybody's words, as a body."""
    return pack(text[-MAX_SENTENCE:].encode(errors="backslashreplace").decode())


def read_error(body: bytes) -> str:
    """What an error's body says, whoever made it."""
    try:
        text = unpack(body)
    except ValuesError:
        text = None
    return text[-MAX_SENTENCE:] if isinstance(text, str) else "The answer is an error whose text cannot be read."


def read_body(body: bytes, kind: type[_T]) -> _T:
    """The message in a body. Raises CallError."""
    try:
        return msgspec.convert(unpack(body), kind)
    except (ValuesError, msgspec.ValidationError, TypeError) as error:
        raise CallError(f"This is no {kind.__name__.lower()}: {error}") from None

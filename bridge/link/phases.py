"""The phases of the conversation with the receiver, and what leads from one to another."""

from enum import Enum, auto
from typing import Final


class IllegalMove(RuntimeError):
    """What was told cannot have happened in this phase: whoever runs the exchange has a fault."""


class Phase(Enum):
    """Where the conversation stands."""

    APART = auto()
    """Nothing was said on any connection that still stands."""
    GREETING = auto()
    """The Hello is said, and no Welcome heard yet."""
    LINKED = auto()
    """The receiver takes what it is sent."""
    PAUSED = auto()
    """It could not take a batch: for a while nothing is sent, then everything after what is stored."""
    OUTLIVED = auto()
    """It remembers another history of this stream: nothing goes on until the spool has begun a fresh one."""
    APART_AFRESH = auto()
    """As APART, with a fresh stream, for which the receiver may still take the old one for another bridge's."""
    GREETING_AFRESH = auto()
    """As GREETING, with such a stream."""


class Event(Enum):
    """What moves the conversation from one phase to another."""

    GREETED = auto()
    WELCOMED = auto()
    PUT_OFF = auto()
    PAUSE_ENDED = auto()
    CONFLICTED = auto()
    DISCONNECTED = auto()
    BEGUN_AFRESH = auto()


MOVES: Final[dict[Event, dict[Phase, Phase]]] = {
    Event.GREETED: {Phase.APART: Phase.GREETING, Phase.APART_AFRESH: Phase.GREETING_AFRESH},
    Event.WELCOMED: {Phase.GREETING: Phase.LINKED, Phase.GREETING_AFRESH: Phase.LINKED},
    Event.PUT_OFF: {Phase.LINKED: Phase.PAUSED},
    Event.PAUSE_ENDED: {Phase.PAUSED: Phase.LINKED},
    Event.CONFLICTED: dict.fromkeys(
        (Phase.GREETING, Phase.GREETING_AFRESH, Phase.LINKED, Phase.PAUSED), Phase.OUTLIVED
    ),
    Event.DISCONNECTED: {
        Phase.APART: Phase.APART,
        Phase.GREETING: Phase.APART,
        Phase.LINKED: Phase.APART,
        Phase.PAUSED: Phase.APART,
        Phase.OUTLIVED: Phase.OUTLIVED,
        Phase.APART_AFRESH: Phase.APART_AFRESH,
        Phase.GREETING_AFRESH: Phase.APART_AFRESH,
    },
    Event.BEGUN_AFRESH: {Phase.OUTLIVED: Phase.APART_AFRESH},
}
"""Which phase follows on which event; what is missing is illegal."""

WELCOME: Final = frozenset({Phase.LINKED, Phase.PAUSED})
"""Phases in which the receiver has welcomed us."""
TALKING: Final = WELCOME | {Phase.GREETING, Phase.GREETING_AFRESH}
"""Phases in which something can be heard."""

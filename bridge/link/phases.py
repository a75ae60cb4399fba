"""The phases of the conversation with the receiver, and which may follow on which."""

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


MOVES: Final = {
    Phase.APART: {Phase.GREETING},
    Phase.GREETING: {Phase.LINKED, Phase.OUTLIVED, Phase.APART},
    Phase.LINKED: {Phase.PAUSED, Phase.OUTLIVED, Phase.APART},
    Phase.PAUSED: {Phase.LINKED, Phase.OUTLIVED, Phase.APART},
    Phase.OUTLIVED: {Phase.APART_AFRESH},
    Phase.APART_AFRESH: {Phase.GREETING_AFRESH},
    Phase.GREETING_AFRESH: {Phase.LINKED, Phase.OUTLIVED, Phase.APART_AFRESH},
}
"""Which phases may follow on each; everything else is illegal."""
WELCOME: Final = frozenset({Phase.LINKED, Phase.PAUSED})
"""Phases in which the receiver has welcomed us."""
TALKING: Final = WELCOME | {Phase.GREETING, Phase.GREETING_AFRESH}
"""Phases in which something can be heard."""

"""The words that messages are made with: why a connection ends, what a bridge is for, what went wrong."""

from enum import StrEnum
from typing import Final


class CloseCode:
    """WebSocket close codes (RFC 6455, section 7.4; 4000-4999 are an application's own)."""

    GOING_AWAY: Final = 1001
    INVALID_DATA: Final = 1007
    POLICY_VIOLATION: Final = 1008
    TOO_BIG: Final = 1009
    TRY_AGAIN_LATER: Final = 1013
    REPLACED: Final = 4001
    """A newer connection of the same stream took over."""
    REFUSED: Final = 4002
    """The peer's Hello cannot be served by this run; dialling again will not help until something is changed."""


class Role(StrEnum):
    """What a bridge is here for; the receiver has a handler for each that it knows."""

    COLLECT = "collect"
    """It drives on its own and sends experience."""
    SERVE_ENV = "serve_env"
    """It has environments that are stepped from the cloud."""
    STREAM = "stream"
    """It tells what a car does, frame by frame, and sends no experience; a driver in the cloud may answer."""


class ErrorCode(StrEnum):
    """What went wrong, for programs; the sentence for people is in `Error.text`."""

    BAD_MESSAGE = "bad_message"
    BAD_BATCH = "bad_batch"
    OUT_OF_ORDER = "out_of_order"
    UNKNOWN_ROLE = "unknown_role"
    WRONG_SIGNATURE = "wrong_signature"
    DUPLICATE_BRIDGE = "duplicate_bridge"
    DISK_FULL = "disk_full"
    TOO_LARGE = "too_large"


class EnvAction(StrEnum):
    """What can be asked of an environment."""

    MAKE = "make"
    RESET = "reset"
    STEP = "step"
    RENDER = "render"
    CLOSE = "close"


class EnvErrorCode(StrEnum):
    """Why a call of an environment has no result, for programs; the sentence for people is in the answer's body."""

    RAISED = "raised"
    """The environment's own code raised; the last lines of its traceback are told."""
    CANNOT_TRAVEL = "cannot_travel"
    OUTSIDE_SPACE = "outside_space"
    UNKNOWN_ENVIRONMENT = "unknown_environment"
    FULL = "full"
    HANGS = "hangs"
    UNKNOWN_CLIENT = "unknown_client"
    """Nobody here knows this client: another process serves by now, or the one that stepped its environment has ended.
    "make" and "reset" begin anew."""
    NO_BRIDGE = "no_bridge"
    """Nobody who has this environment is connected."""
    BAD_CALL = "bad_call"

"""Why a call of an environment has no result: the code and the sentence for whoever asked."""

import traceback

from bridge.serve_env.checked import OutsideSpace
from experience.remote_calls import CallError
from experience.spaces import SpacesError
from experience.values import CannotTravel, ValuesError
from wire.messages import EnvErrorCode

_TRACEBACK_LINES = 12


class Refusal(Exception):
    """The call has no result: its `code`, and the sentence."""

    def __init__(self, code: EnvErrorCode, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def refusal_of(error: BaseException) -> Refusal:
    """What is answered where a call of an environment raised `error`."""
    match error:
        case Refusal():
            return error
        case OutsideSpace():
            return Refusal(EnvErrorCode.OUTSIDE_SPACE, str(error))
        case CannotTravel():
            return Refusal(EnvErrorCode.CANNOT_TRAVEL, f"What the environment returned cannot travel: {error}.")
        case CallError() | ValuesError() | SpacesError():
            return Refusal(EnvErrorCode.BAD_CALL, str(error))
    lines = "".join(traceback.format_exception(error)).splitlines(True)
    return Refusal(EnvErrorCode.RAISED, "".join(lines[-_TRACEBACK_LINES:]))

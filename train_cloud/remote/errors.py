"""What can go wrong with an environment that is elsewhere."""

from wire.messages import EnvErrorCode

_PASSES = frozenset({EnvErrorCode.NO_BRIDGE, EnvErrorCode.UNKNOWN_CLIENT, EnvErrorCode.HANGS, EnvErrorCode.FULL})


class RemoteEnvError(RuntimeError):
    """A call of a remote environment has no result.

    Attributes: code: see EnvErrorCode, or "no_answer" when none came in time; is_recoverable: the PC may come back, and
    a reset begins a new episode there. Another call than reset makes no sense before.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.is_recoverable = code == NO_ANSWER or code in _PASSES


NO_ANSWER = "no_answer"

"""What RemoteEnv and RemoteVectorEnv have in common: one client's environment on a PC, made, stepped, and made anew."""

import logging
from pathlib import Path
from typing import Any

from experience.remote_calls import Made, Make, Reset, body_of, read_body
from experience.values import pack, unpack
from runtime.logs import fields
from train_cloud.remote.channel import Channel
from train_cloud.remote.errors import RemoteEnvError
from wire.messages import EnvAction, EnvErrorCode

STEP_SECONDS = 30.0
"""An environment that has not come back from a step after so long is given up."""
MAKE_SECONDS = 300.0
"""Making and resetting a game may take its time, and a PC that is about to be connected is waited for."""

_log = logging.getLogger(__name__)


class Stepping:
    """Calls `make`'s environment over the receiver's socket at `path`. Everything raises RemoteEnvError.

    After an error that is recoverable the environment is made anew by the next reset: on a PC that has come back, or
    on another one.
    """

    def __init__(self, path: Path, make: Make, step_seconds: float, make_seconds: float) -> None:
        self.channel = Channel(path)
        self._asked, self._step_seconds, self._make_seconds = make, step_seconds, make_seconds
        self._lost = False
        self.made = self._make()

    def reset(self, seed: int | list[int | None] | None, options: dict[str, Any] | None) -> list[Any]:
        """What the environment's reset returns."""
        if self._lost:
            self._make_anew()
        try:
            return self._reset(seed, options)
        except RemoteEnvError as error:
            if error.code != EnvErrorCode.UNKNOWN_CLIENT:
                raise
            self._make_anew()
            return self._reset(seed, options)

    def step(self, action: Any) -> list[Any]:
        """What the environment's step returns."""
        stepped: list[Any] = unpack(self._call(EnvAction.STEP, pack(action), self._step_seconds))
        return stepped

    def render(self) -> Any:
        """What the environment's render returns."""
        return unpack(self._call(EnvAction.RENDER, b"", self._step_seconds))

    def close(self) -> None:
        """Have the PC close it; one that is gone has done so. The next reset makes it anew."""
        if not self._lost:
            self._call(EnvAction.CLOSE, b"", self._step_seconds)
        self._lost = True
        self.channel.close()

    def _reset(self, seed: int | list[int | None] | None, options: dict[str, Any] | None) -> list[Any]:
        begun: list[Any] = unpack(self._call(EnvAction.RESET, body_of(Reset(seed, options)), self._make_seconds))
        return begun

    def _make(self) -> Made:
        return read_body(self._call(EnvAction.MAKE, body_of(self._asked), self._make_seconds), Made)

    def _make_anew(self) -> None:
        _log.warning("the environment is made anew", extra=fields(environment=self._asked.name))
        made = self._make()
        if (made.observation_space, made.action_space) != (self.made.observation_space, self.made.action_space):
            raise RemoteEnvError(
                "other_spaces",
                f"{self._asked.name} on the PC has other spaces than before: its code was changed. Go on with the old "
                "one, or begin another run.",
            )
        self._lost = False

    def _call(self, what: EnvAction, body: bytes, seconds: float) -> bytes:
        try:
            return self.channel.call(what, body, seconds)
        except RemoteEnvError as error:
            self._lost = self._lost or error.is_recoverable
            raise

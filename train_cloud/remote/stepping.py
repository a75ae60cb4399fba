"""What RemoteEnv and RemoteVectorEnv have in common: one client's environment on a PC, made, stepped, and made anew."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from experience.compression import decompressed
from experience.remote_calls import CallError, Made, Make, Reset, body_of, read_body
from experience.values import CannotTravel, ValuesError, pack, unpack
from runtime.logs import fields
from train_cloud.remote.channel import Channel
from train_cloud.remote.errors import RemoteEnvError
from train_cloud.run_config import EnvironmentSettings
from wire.messages import MAX_BLOB_BYTES, EnvAction, EnvErrorCode

STEP_SECONDS = EnvironmentSettings().step_seconds
"""An environment that has not come back from a step after so long is given up, unless somebody says otherwise."""
MAKE_SECONDS = EnvironmentSettings().make_seconds
"""Making and resetting a game may take its time, and a PC that is about to be connected is waited for."""
_LONG_SECONDS = 60.0

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Stepping:
    """Calls `make`'s environment over the receiver's socket at `path`. Everything raises RemoteEnvError.

    After an error that is recoverable the environment is made anew by the next reset: on a PC that has come back, or
    on another one. Each `begin_...` starts a call and `answer` brings what it returns, with time for other work between
    the two; the methods without it wait.
    """

    def __init__(self, path: Path, make: Make, step_seconds: float, make_seconds: float) -> None:
        self.channel = Channel(path)
        self._asked, self._step_seconds, self._make_seconds = make, step_seconds, make_seconds
        self._making = self._lost = False
        self._made: Made | None = None

    @property
    def call_seconds(self) -> tuple[float, float]:
        """Of the newest call, s: what was spent in the environment, and everything else until the answer was taken."""
        return self.channel.remote_seconds, self.channel.overhead_seconds

    def make(self) -> Made:
        """Have a PC make the environment; what it tells of it."""
        self.begin_make()
        made: Made = self._waited()
        try:
            made.spaces()
        except CallError as error:
            raise RemoteEnvError("bad_answer", f"The PC's spaces cannot be read: {error}") from None
        self._made, self._lost = made, False
        return made

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
        self.begin_step(action)
        return self.stepped()

    def stepped(self) -> list[Any]:
        """What the step that was begun returns."""
        return self._parts(5)

    def render(self) -> Any:
        """What the environment's render returns."""
        self._begin(EnvAction.RENDER, b"", self._step_seconds)
        return self._waited()

    def close(self, seconds: float | None = None) -> None:
        """Have the PC close it, in at most `seconds`; one that is gone has done so. The next reset makes it anew."""
        try:
            if not self._lost:
                self._begin(EnvAction.CLOSE, b"", seconds or self._step_seconds)
                self._waited()
        finally:
            self._lost = True
            self.channel.close()

    def begin_make(self) -> None:
        """Begin `make`."""
        self._begin(EnvAction.MAKE, _packed(body_of, self._asked), self._make_seconds)

    def begin_reset(self, seed: int | list[int | None] | None, options: dict[str, Any] | None = None) -> None:
        """Begin a reset."""
        self._begin(EnvAction.RESET, _packed(body_of, Reset(seed, options)), self._make_seconds)

    def begin_step(self, action: Any) -> None:
        """Begin a step."""
        self._begin(EnvAction.STEP, _packed(pack, action), self._step_seconds)

    def answer(self, seconds: float) -> Any:
        """What the make, reset or step that was begun returns; None when it has not after `seconds`."""
        body = self._body(seconds)
        if body is None:
            return None
        if (answer := self._read(body)) is None:
            raise RemoteEnvError("bad_answer", "The PC answers with nothing.")
        return answer

    def _body(self, seconds: float) -> bytes | None:
        try:
            return self.channel.receive(seconds)
        except RemoteEnvError as error:
            self._lost = self._lost or error.is_recoverable
            raise

    def _read(self, body: bytes) -> Any:
        try:
            body = decompressed(body)
            return read_body(body, Made) if self._making else unpack(body)
        except (ValuesError, CallError) as error:
            raise RemoteEnvError("bad_answer", f"The PC's answer cannot be read: {error}.") from None

    def _begin(self, what: EnvAction, body: bytes, seconds: float) -> None:
        self._making = what is EnvAction.MAKE
        self.channel.send(what, body, seconds)

    def _waited(self) -> Any:
        while (body := self._body(_LONG_SECONDS)) is None:
            pass
        return self._read(body)

    def _parts(self, count: int) -> list[Any]:
        answer = self._waited()
        if not isinstance(answer, list) or len(answer) != count:
            raise RemoteEnvError("bad_answer", f"The PC answers with {type(answer).__name__}, not with {count} values.")
        return answer

    def _reset(self, seed: int | list[int | None] | None, options: dict[str, Any] | None) -> list[Any]:
        self.begin_reset(seed, options)
        return self._parts(2)

    def _make_anew(self) -> None:
        _log.warning("the environment is made anew", extra=fields(environment=self._asked.name))
        before, made = self._made, self.make()
        if before and (made.observation_space, made.action_space) != (before.observation_space, before.action_space):
            self._made, self._lost = before, True
            raise RemoteEnvError(
                "other_spaces",
                f"{self._asked.name} on the PC has other spaces than before: its code was changed. Go on with the old "
                "one, or begin another run.",
            )


def _packed(make: Callable[[_T], bytes], value: _T) -> bytes:
    """What is asked as bytes that travel; else RemoteEnvError, before anything is asked."""
    try:
        body = make(value)
    except CannotTravel as error:
        raise RemoteEnvError(EnvErrorCode.CANNOT_TRAVEL, f"What is asked of the PC cannot travel: {error}.") from None
    if len(body) > MAX_BLOB_BYTES:
        text = f"What is asked of the PC has {len(body)} bytes; at most {MAX_BLOB_BYTES} travel."
        raise RemoteEnvError(EnvErrorCode.CANNOT_TRAVEL, text)
    return body

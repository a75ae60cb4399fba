"""One client's environment, in a thread of its own: what hangs or raises there disturbs nobody else."""

import copy
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bridge.serve_env.checked import Checked, OutsideSpace
from bridge.serve_env.offers import Maker
from experience.remote_calls import CallError, Make, Reset, body_of, error_body, made, read_body
from experience.spaces import SpacesError
from experience.values import CannotTravel, ValuesError, pack, unpack
from wire.messages import MAX_BLOB_BYTES, EnvAction, EnvCall, EnvErrorCode, EnvResult

_TRACEBACK_LINES = 12


class _Refusal(Exception):
    """The call has no result: its code, and the sentence."""

    def __init__(self, code: EnvErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Served:
    """What one client steps. `answer` is called in the environment's thread.

    Attributes: asked: number of the newest call; answered: the newest answer, for who asks again; used: s, monotonic,
    of the newest call; count: how many environments it holds.
    """

    def __init__(self, offers: Mapping[str, Maker], answer: Callable[[EnvResult], None]) -> None:
        self._offers, self._answer = offers, answer
        self._calls: SimpleQueue[EnvCall | None] = SimpleQueue()
        self._env: Any = None
        self._abandoned = False
        self.asked, self.count = 0, 0
        self.answered: EnvResult | None = None
        self.used = time.monotonic()
        self._thread = Thread(target=self._work, name="environment", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a call is being done."""
        return self.answered is None or self.answered.number < self.asked

    @property
    def ended(self) -> bool:
        """Whether it is closed, after it was abandoned."""
        return not self._thread.is_alive()

    def ask(self, call: EnvCall) -> None:
        """Do a call, unless it is done or being done; any thread may ask, and nobody waits."""
        self.used = time.monotonic()
        if call.number > self.asked:
            self.asked = call.number
            self._calls.put(call)
        elif self.answered is not None and self.answered.number == call.number:
            self._answer(self.answered)

    def abandon(self) -> None:
        """Close the environment as soon as it comes back, and answer nothing more."""
        self._abandoned = True
        self._calls.put(None)

    def _work(self) -> None:
        while not self._abandoned and (call := self._calls.get()) is not None:
            result = self._done(call)
            if self._env is None:
                # What could not be made takes no room.
                self.count = 0
            self.answered = result
            if not self._abandoned:
                self._answer(result)
        self._close()

    def _done(self, call: EnvCall) -> EnvResult:
        began = time.perf_counter()
        try:
            body = self._do(call)
            if len(body) > MAX_BLOB_BYTES:
                raise _Refusal(
                    EnvErrorCode.CANNOT_TRAVEL,
                    f"The answer has {len(body)} bytes; at most {MAX_BLOB_BYTES} travel. Make observations smaller.",
                )
            return EnvResult(call.client, call.number, self._seconds, body)
        except _Refusal as refusal:
            code, text = refusal.code, str(refusal)
        except OutsideSpace as error:
            code, text = EnvErrorCode.OUTSIDE_SPACE, str(error)
        except CannotTravel as error:
            code, text = EnvErrorCode.CANNOT_TRAVEL, f"What the environment returned cannot travel: {error}."
        except (CallError, ValuesError, SpacesError) as error:
            code, text = EnvErrorCode.BAD_CALL, str(error)
        except BaseException:
            # A game whose window is closed ends its process, as it thinks.
            code, text = EnvErrorCode.RAISED, "".join(traceback.format_exc().splitlines(True)[-_TRACEBACK_LINES:])
        return EnvResult(call.client, call.number, time.perf_counter() - began, error_body(text), code)

    def _timed(self, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return do()
        finally:
            self._seconds = time.perf_counter() - began

    def _do(self, call: EnvCall) -> bytes:
        self._seconds = 0.0
        if call.what is EnvAction.MAKE:
            return self._make(read_body(call.body, Make))
        if self._env is None:
            raise _Refusal(EnvErrorCode.UNKNOWN_CLIENT, "This client has made no environment here.")
        match call.what:
            case EnvAction.STEP:
                action = unpack(call.body)
                return pack(list(self._timed(lambda: self._env.step(action))))
            case EnvAction.RESET:
                asked = read_body(call.body, Reset)
                options = copy.copy(asked.options)
                return pack(list(self._timed(lambda: self._env.reset(seed=asked.seed, options=options))))
            case EnvAction.RENDER:
                return pack(self._timed(self._env.render))
        raise _Refusal(EnvErrorCode.BAD_CALL, f"There is no call {call.what}.")

    def _make(self, asked: Make) -> bytes:
        self._close()
        maker = self._offers.get(asked.name)
        if maker is None:
            offered = ", ".join(self._offers)
            raise _Refusal(EnvErrorCode.UNKNOWN_ENVIRONMENT, f"This PC has no {asked.name!r}; it offers {offered}.")
        kwargs = dict(asked.kwargs)
        if asked.render_mode is not None:
            kwargs["render_mode"] = asked.render_mode
        one = partial(self._one, maker, kwargs, asked)
        mode = AutoresetMode(asked.autoreset_mode)
        if asked.count is None:
            env = self._timed(one)
            observation, action, metadata = env.observation_space, env.action_space, env.metadata
        else:
            # What it returns is packed before the next step can overwrite it.
            env = self._timed(lambda: SyncVectorEnv([one] * (asked.count or 1), copy=False, autoreset_mode=mode))
            observation, action = env.single_observation_space, env.single_action_space
            metadata = env.metadata
        self._env = env
        said = made(observation, action, {key: item for key, item in metadata.items() if _travels(item)})
        return body_of(said)

    @staticmethod
    def _one(maker: Maker, kwargs: dict[str, Any], asked: Make) -> gymnasium.Env[Any, Any]:
        return Checked(maker(**kwargs), asked.name, asked.outside)

    def _close(self) -> None:
        env, self._env = self._env, None
        if env is not None:
            env.close()


def _travels(value: Any) -> bool:
    try:
        pack(value)
    except CannotTravel:
        return False
    return isinstance(value, (str, int, float, bool, list, tuple, type(None), np.generic))

"""One client's environment, in a thread of its own: what hangs or raises there disturbs nobody else."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread, Timer
from typing import Any

from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bridge.serve_env.making import make, told_of
from bridge.serve_env.offers import Maker
from bridge.serve_env.processes import Processes, ProcessVectorEnv
from bridge.serve_env.refusals import Refusal, refusal_of
from bridge.serve_env.worker import CLOSE_SECONDS, Worker
from experience.compression import compressed
from experience.remote_calls import Make, Reset, body_of, error_body, read_body
from experience.values import pack, unpack
from wire.messages import MAX_BLOB_BYTES, EnvAction, EnvCall, EnvErrorCode, EnvResult


class Served:
    """What one client steps. `answer` is called in the environment's thread.

    Attributes: asked: number of the newest call; answered: the newest answer, for who asks again; used: s, monotonic,
    of the newest call; count: how many environments it holds.
    """

    def __init__(self, offers: Mapping[str, Maker], processes: Processes, answer: Callable[[EnvResult], None]) -> None:
        self._offers, self._processes, self._answer = offers, processes, answer
        self._calls: SimpleQueue[EnvCall | None] = SimpleQueue()
        self._env: Any = None
        self._workers: Sequence[Worker] = ()
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
        for worker in self._workers:
            # What hangs in a process of its own can be ended.
            ending = Timer(CLOSE_SECONDS, worker.kill)
            ending.daemon = True
            ending.start()

    def join(self, seconds: float) -> None:
        """Wait until it is closed, for at most so long."""
        self._thread.join(max(0.0, seconds))

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
                raise Refusal(
                    EnvErrorCode.CANNOT_TRAVEL,
                    f"The answer has {len(body)} bytes; at most {MAX_BLOB_BYTES} travel. Make observations smaller.",
                )
            return EnvResult(call.client, call.number, self._seconds, compressed(body))
        except BaseException as error:
            # A game whose window is closed ends its process, as it thinks.
            refusal = refusal_of(error)
        if self._env is None or refusal.code is EnvErrorCode.UNKNOWN_CLIENT:
            self._close()
        spent = time.perf_counter() - began
        return EnvResult(call.client, call.number, spent, error_body(refusal.text), refusal.code)

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
            raise Refusal(EnvErrorCode.UNKNOWN_CLIENT, "This client has made no environment here.")
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
        raise Refusal(EnvErrorCode.BAD_CALL, f"There is no call {call.what}.")

    def _make(self, asked: Make) -> bytes:
        self._close()
        maker = self._offers.get(asked.name)
        if maker is None:
            offered = ", ".join(self._offers)
            raise Refusal(EnvErrorCode.UNKNOWN_ENVIRONMENT, f"This PC has no {asked.name!r}; it offers {offered}.")
        one = partial(make, maker, asked)
        if asked.count is None:
            env = self._timed(one)
            told = told_of(env.observation_space, env.action_space, env.metadata)
        else:
            env = self._timed(partial(self._vector, one, asked))
            told = told_of(env.single_observation_space, env.single_action_space, env.metadata)
        self._env = env
        return body_of(told)

    def _vector(self, one: Callable[[], Any], asked: Make) -> SyncVectorEnv:
        count, processes = asked.count or 1, self._processes.of(asked)
        if processes > 1:
            self._workers = [Worker(asked) for _ in range(processes)]
            return ProcessVectorEnv(self._workers, asked)
        # What it returns is packed before the next step can overwrite it.
        return SyncVectorEnv([one] * count, copy=False, autoreset_mode=AutoresetMode(asked.autoreset_mode))

    def _close(self) -> None:
        env, self._env = self._env, None
        workers, self._workers = self._workers, ()
        for worker in workers:
            worker.let_go()
        for worker in workers:
            worker.join()
        if env is not None:
            env.close()

"""A PC that answers a trainer's calls with whatever a test likes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from experience.remote_calls import body_of, made
from experience.values import pack
from tests.support.counting_env import Counting
from tests.support.receivers import ThreadedReceiver, hello
from wire.frames import decode_down
from wire.messages import EnvAction, EnvCall, EnvResult, Hello, Ping, Role

NAME = "tests.support.counting_env:Counting"
MADE = body_of(made(Counting.observation_space, Counting.action_space, {}))


def introduction(config: Any, **changes: Any) -> Hello:
    """The Hello of such a PC."""
    said = {"role": Role.SERVE_ENV, "signature": "", "spaces": "", "environments": (NAME,)}
    return hello(config, **(said | changes))


def well_behaved(call: EnvCall) -> bytes:
    """The body of a right answer, of a vector of one."""
    zeros = np.zeros((1, 1))
    match call.what:
        case EnvAction.MAKE:
            return MADE
        case EnvAction.RESET:
            return pack([zeros, {}])
        case EnvAction.STEP:
            return pack([zeros, np.zeros(1), np.zeros(1, bool), np.zeros(1, bool), {}])
    return pack(None)


@contextmanager
def answering(
    receiver: ThreadedReceiver, answer: Callable[[EnvCall], bytes | EnvResult | None], name: str = "a"
) -> Iterator[None]:
    """Answers each call by `answer`'s body, or its whole result, or not at all where that is None."""
    stop = threading.Event()
    with receiver.client() as client:
        client.begin(introduction(receiver.config, stream=name * 32, bridge=name))

        def speak() -> None:
            with suppress(ConnectionClosed):
                while not stop.is_set():
                    try:
                        message = decode_down(client.socket.recv(timeout=0.2))
                    except TimeoutError:
                        client.say(Ping(0.0))
                        continue
                    if isinstance(message, EnvCall) and (said := answer(message)) is not None:
                        client.say(
                            said
                            if isinstance(said, EnvResult)
                            else EnvResult(message.client, message.number, 0.0, said)
                        )

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

"""What a receiver, with the trainer behind it, must do: here is the bridge that dials it, and serves the counter."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zstandard
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from experience.remote_calls import Make, Reset, body_of, made, read_body
from experience.values import pack, unpack
from tests.conformance.checking import expect
from tests.conformance.counter import NAME, Counter
from tests.support.receivers import Client
from wire.messages import (
    CloseCode,
    EnvAction,
    EnvCall,
    EnvErrorCode,
    EnvResult,
    Error,
    Hello,
    Ping,
    Pong,
    Role,
    Welcome,
)
from wire.pairing import Pairing, basic_auth_header, new_token

TRAINER_SECONDS = 60.0
"""The trainer has asked for something within this time."""
ANSWER_SECONDS = 30.0
QUIET_SECONDS = 1.0
"""Whoever asks for nothing in this time waits for an answer."""


class Receiver:
    """The receiver that is tried, and this bridge's connection to it."""

    def __init__(self, pairing: Pairing) -> None:
        self.pairing, self.stream = pairing, secrets.token_hex(16)
        self._client: Client | None = None
        self._counters: dict[str, Counter] = {}
        self.numbers: dict[str, int] = {}
        """Number of the newest call of each client."""

    def hello(self, **changes: Any) -> Hello:
        said = {"role": str(Role.SERVE_ENV), "stream": self.stream, "environments": (NAME,)} | changes
        return Hello("conformance", signature="", spaces="", real_time=False, cars=64, last_number=0,
                     weights_version=0, software="conformance", **said)  # fmt: skip

    @property
    def client(self) -> Client:
        """This bridge's connection, welcomed."""
        if self._client is None:
            self._client = Client(self.pairing)
            self._client.begin(self.hello())
        return self._client

    def cut(self) -> None:
        """Cut it without a word; the next use dials again."""
        self.client.socket.socket.shutdown(2)
        self._client = None

    def become_another(self) -> None:
        """As another process, which knows no client."""
        self.cut()
        self.stream, self._counters, self.numbers = secrets.token_hex(16), {}, {}

    def asked(self) -> EnvCall:
        """The trainer's next call."""
        call = self.client.hear(EnvCall, seconds=TRAINER_SECONDS)
        before = self.numbers.get(call.client)
        right = call.number == before + 1 if before is not None else call.number >= 1
        expect(right, f"after call {before} of a client comes {call.number}")
        self.numbers[call.client] = call.number
        return call

    def answer(self, call: EnvCall, compress: bool = False) -> None:
        """Do what is asked for, and say so."""
        error: EnvErrorCode | None = None
        counter = self._counters.get(call.client)
        if call.what is EnvAction.MAKE:
            make = read_body(call.body, Make)
            expect((make.name, make.count) == (NAME, None), f"it asks for {make.count} of {make.name!r}, not for one")
            self._counters[call.client] = Counter()
            body = body_of(made(Counter.observation_space, Counter.action_space, {}))
        elif counter is None:
            body, error = pack("This process has made no environment for this client."), EnvErrorCode.UNKNOWN_CLIENT
        elif call.what is EnvAction.RESET:
            read_body(call.body, Reset)
            body = pack(list(counter.reset()))
        elif call.what is EnvAction.STEP:
            action = unpack(call.body)
            expect(action == 0, f"it steps with {action!r}, not with 0")
            body = pack(list(counter.step(np.int64(action))))
        else:
            body = pack(None)
        self.client.say(EnvResult(call.client, call.number, 0.0, zstandard.compress(body) if compress else body, error))

    def stepping(self) -> EnvCall:
        """Serve the trainer until it asks for a step, which is not answered yet."""
        for _ in range(20):
            call = self.asked()
            if call.what is EnvAction.STEP and call.client in self._counters:
                return call
            self.answer(call)
        raise AssertionError("among 20 calls of the trainer is no step")

    def close(self) -> None:
        if self._client is not None:
            self._client.socket.close()


def asks_for_the_token(receiver: Receiver) -> None:
    """It lets nobody in who shows another token, or none."""
    for token in (basic_auth_header(new_token()), ""):
        try:
            Client(receiver.pairing, additional_headers={"Authorization": token} if token else {}).socket.close()
        except InvalidStatus as refusal:
            expect(refusal.response.status_code == 401, f"it answers {refusal.response.status_code}, not 401")
        else:
            expect(False, "it lets a stranger in")


def asks_for_the_protocol(receiver: Receiver) -> None:
    """It refuses a peer that does not speak this protocol."""
    try:
        Client(receiver.pairing, subprotocols=None).socket.close()
    except InvalidHandshake:
        return
    expect(False, "it lets a peer in that offers no subprotocol")


def refuses(receiver: Receiver) -> None:
    """What is no message, an unknown role and a bridge without environments are told an error, and let go."""
    for first, code, close in (
        (b"\xc1", "bad_message", CloseCode.INVALID_DATA),
        (receiver.hello(role="cook", stream="a" * 32), "unknown_role", None),
        (receiver.hello(environments=(), stream="a" * 32), "bad_message", CloseCode.REFUSED),
    ):
        with Client(receiver.pairing) as client:
            client.blurt(first)
            closed = client.close_code(ANSWER_SECONDS)
            told = [message for message in client.heard if isinstance(message, Error)]
            expect([error.code for error in told] == [code], f"it says {told}, not {code}")
            expect(close is None or closed == close, f"it closes with {closed}, not {close}")


def welcomes(receiver: Receiver) -> None:
    """It answers hello by welcome, and ping by pong."""
    with Client(receiver.pairing) as client:
        client.say(receiver.hello(stream="b" * 32, environments=("nobody-asks-for-this",)))
        client.hear(Welcome, seconds=ANSWER_SECONDS)
        client.say(Ping(12.5))
        client.hear(Pong, lambda pong: pong.time == 12.5, ANSWER_SECONDS)


def steps(receiver: Receiver) -> None:
    """The trainer makes the counter, resets it and steps it, one call at a time, numbered without a gap."""
    for _ in range(100):
        receiver.answer(receiver.stepping())


def reads_what_is_compressed(receiver: Receiver) -> None:
    """The trainer reads an answer whose body is compressed."""
    for _ in range(3):
        receiver.answer(receiver.stepping(), compress=True)
    receiver.answer(receiver.stepping())


def asks_again(receiver: Receiver) -> None:
    """After a cut it asks again what was not answered, as it was, and goes on with the answer."""
    for _ in range(3):
        call = receiver.stepping()
        receiver.cut()
        again = receiver.client.hear(EnvCall, seconds=TRAINER_SECONDS)
        expect(again == call, f"it asked for {call.what} {call.number}, and then for {again.what} {again.number}")
        receiver.answer(again)


def passes_over(receiver: Receiver) -> None:
    """An answer to another number than the one asked for is passed over."""
    call = receiver.stepping()
    stale = pack([np.array([-1.0]), 0.5, False, False, {}])
    receiver.client.say(EnvResult(call.client, call.number + 7, 0.0, stale))
    receiver.client.say(EnvResult(call.client, max(1, call.number - 1), 0.0, stale))
    receiver.client.say(EnvResult("d" * 32, call.number, 0.0, stale))
    receiver.answer(call)
    call = receiver.stepping()
    with contextlib.suppress(TimeoutError):
        more = receiver.client.hear(EnvCall, seconds=QUIET_SECONDS)
        expect(False, f"it asks for {more.what} {more.number}, and was not answered yet")
    receiver.answer(call)


def begins_anew(receiver: Receiver) -> None:
    """When another process of the PC comes, the trainer makes its environment anew."""
    call = receiver.stepping()
    receiver.become_another()
    began = time.monotonic()
    while (asked := receiver.asked()).what is not EnvAction.MAKE:
        expect(time.monotonic() - began < TRAINER_SECONDS, f"it goes on asking for {asked.what}")
        receiver.answer(asked)
    receiver.answer(asked)
    expect(asked.client != call.client or asked.number > call.number, "it begins to count anew as the same client")
    receiver.answer(receiver.stepping())


def lets_a_liar_go(receiver: Receiver) -> None:
    """A bridge that says what only others say is told an error and let go; the trainer is served by the next."""
    client = receiver.client
    client.blurt(Hello("x", "e" * 32, "collect", "", "", False, 1, 0, 0, ""))
    try:
        client.hear(Error, seconds=ANSWER_SECONDS)
        client.close_code(ANSWER_SECONDS)
    except ConnectionClosed:
        expect(False, "it is let go without a word")
    receiver.close()
    receiver._client = None
    receiver.numbers.clear()
    receiver.answer(receiver.stepping())


CHECKS = (
    asks_for_the_token,
    asks_for_the_protocol,
    refuses,
    welcomes,
    steps,
    reads_what_is_compressed,
    asks_again,
    passes_over,
    begins_anew,
    lets_a_liar_go,
)


@contextmanager
def receiver_of(pairing: Pairing) -> Iterator[Receiver]:
    """The bridge that dials the receiver that is to be tried."""
    receiver = Receiver(pairing)
    try:
        yield receiver
    finally:
        receiver.close()

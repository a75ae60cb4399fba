"""What a bridge that serves environments must do: here is the receiver that it dials."""

import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from experience.compression import decompressed
from experience.remote_calls import Made, Make, Reset, body_of, read_body, read_error
from experience.values import pack, unpack
from tests.conformance.checking import expect
from tests.conformance.counter import NAME, Counter
from wire.frames import decode_up, encode_frame
from wire.messages import PROTOCOL, EnvAction, EnvCall, EnvResult, Hello, Ping, Pong, Role, Welcome
from wire.pairing import Pairing, basic_auth_header, new_token

DIAL_SECONDS = 60.0
"""A bridge has dialled again within this time."""
ANSWER_SECONDS = 30.0


class Link:
    """One connection of the bridge, from its Hello on. Attributes: hello; headers: of its request."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        assert socket.request is not None
        self.headers = socket.request.headers
        first = decode_up(socket.recv(timeout=ANSWER_SECONDS))
        expect(isinstance(first, Hello), f"the first message is a {type(first).__name__}, not hello")
        assert isinstance(first, Hello)
        self.hello = first
        self.ended = threading.Event()

    def welcome(self) -> None:
        self._socket.send(encode_frame(Welcome("conformance", 0, 0, 0, 0, 1)))

    def say(self, call: EnvCall) -> None:
        self._socket.send(encode_frame(call))

    def hear(self, seconds: float = ANSWER_SECONDS, answer_pings: bool = True) -> EnvResult | Ping | None:
        """The next result, or ping where those are not answered; None when there is none in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = decode_up(self._socket.recv(timeout=left))
            except TimeoutError:
                return None
            if isinstance(message, Ping) and answer_pings:
                self._socket.send(encode_frame(Pong(message.time)))
            elif isinstance(message, (EnvResult, Ping)):
                return message
        return None

    def cut(self) -> None:
        """Cut it without a word."""
        with contextlib.suppress(OSError):
            self._socket.socket.shutdown(2)
        self.ended.set()


class Bridge:
    """The bridge that is tried, and the connection over which it is spoken to."""

    def __init__(self, port: int) -> None:
        self.token, self.name = new_token(), NAME
        self._links: queue.Queue[Link] = queue.Queue()
        self._server = serve(self._dialled, "127.0.0.1", port, subprotocols=[Subprotocol(PROTOCOL)], compression=None,
                             ping_interval=None)  # fmt: skip
        self.pairing = Pairing("127.0.0.1", self._server.socket.getsockname()[1], self.token, tls=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._link: Link | None = None

    def _dialled(self, socket: ServerConnection) -> None:
        link = Link(socket)
        self._links.put(link)
        link.ended.wait()

    @property
    def link(self) -> Link:
        """The connection in force; one is waited for."""
        if self._link is None:
            try:
                self._link = self._links.get(timeout=DIAL_SECONDS)
            except queue.Empty:
                raise AssertionError(f"the bridge did not dial within {DIAL_SECONDS:.0f} s") from None
            self._link.welcome()
        return self._link

    def cut(self) -> None:
        """Cut the connection; the next use waits for another."""
        self.link.cut()
        self._link = None

    def client(self) -> "Client":
        return Client(self)

    def close(self) -> None:
        if self._link is not None:
            self._link.cut()
        # Those that were dialled while nobody listened: the server waits for each.
        while not self._links.empty():
            self._links.get().cut()
        self._server.shutdown()


class Client:
    """Asks for things in one client's name, which counts its calls."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge, self.name, self.number = bridge, secrets.token_hex(16), 0

    def call(self, what: EnvAction, body: bytes = b"") -> EnvCall:
        self.number += 1
        return EnvCall(self.name, self.number, what, ANSWER_SECONDS, body)

    def answer(self, call: EnvCall) -> EnvResult:
        """What the bridge answers to `call`."""
        self._bridge.link.say(call)
        return self.heard(call)

    def heard(self, call: EnvCall) -> EnvResult:
        result = self._bridge.link.hear()
        while isinstance(result, EnvResult) and result.client == call.client and result.number < call.number:
            # What was asked twice may be answered twice.
            result = self._bridge.link.hear()
        expect(isinstance(result, EnvResult), f"{call.what} was not answered within {ANSWER_SECONDS:.0f} s")
        assert isinstance(result, EnvResult)
        seen = (result.client, result.number)
        expect(seen == (call.client, call.number), f"{call.what} {call.number} was answered by {seen}")
        expect(0.0 <= result.seconds < ANSWER_SECONDS, f"{result.seconds} s are said to be spent in the environment")
        return result

    def value(self, what: EnvAction, body: bytes = b"") -> Any:
        """What the environment returned."""
        result = self.answer(self.call(what, body))
        expect(result.error is None, f"{what} is answered by {result.error}: {read_error(result.body)}")
        return unpack(decompressed(result.body))

    def made(self) -> Made:
        """Make the counter, and begin an episode."""
        made = read_body(
            decompressed(self.answer(self.call(EnvAction.MAKE, body_of(Make(self._bridge.name)))).body), Made
        )
        self.value(EnvAction.RESET, body_of(Reset(seed=1)))
        return made

    def step(self, action: int = 0) -> Any:
        return self.value(EnvAction.STEP, pack(np.int64(action)))

    def refused(self, code: str, call: EnvCall) -> str:
        """The sentence with which `call` is refused."""
        result = self.answer(call)
        expect(result.error == code, f"{call.what} is answered by {result.error}, not by {code}")
        sentence = unpack(result.body)
        expect(isinstance(sentence, str) and len(sentence) > 10, f"the refusal's body is {sentence!r}, no sentence")
        return str(sentence)


def introduces_itself(bridge: Bridge) -> None:
    """It shows the token in its request and says hello, with its role and what it has."""
    link = bridge.link
    said = link.headers.get("Authorization", "")
    expect(said == basic_auth_header(bridge.token), "the request's Authorization is not that of the pairing string")
    hello = link.hello
    expect(hello.role == Role.SERVE_ENV, f"its role is {hello.role!r}")
    expect(bridge.name in hello.environments, f"it offers {hello.environments}, and not {bridge.name}")


def makes(bridge: Bridge) -> None:
    """It makes the counter, and tells its spaces exactly."""
    client = bridge.client()
    observation, action = client.made().spaces()
    expect(observation == Counter.observation_space, f"the observation space is {observation}")
    expect(action == Counter.action_space, f"the action space is {action}")
    client.value(EnvAction.CLOSE)


def steps(bridge: Bridge) -> None:
    """It resets and steps, and values come in their own types."""
    client = bridge.client()
    client.made()
    observation, reward, terminated, truncated, info = client.step()
    exact = isinstance(observation, np.ndarray) and (observation.dtype, observation.shape) == (np.dtype("<f8"), (1,))
    expect(exact and observation[0] == 1.0, f"the observation after one step is {observation!r}")
    expect((type(reward), reward) == (float, 0.5), f"the reward is {reward!r}")
    expect((terminated, truncated) == (False, False), f"the ends are {terminated!r}, {truncated!r}")
    expect(info == {"total": 1}, f"the info is {info!r}")
    begun, info = client.value(EnvAction.RESET, body_of(Reset()))
    expect(begun.tolist() == [0.0] and info == {"total": 1}, f"reset returns {begun!r}, {info!r}")
    client.value(EnvAction.CLOSE)


def answers_again(bridge: Bridge) -> None:
    """A call that is asked again is answered again, to the bit, and not done again."""
    client = bridge.client()
    client.made()
    call = client.call(EnvAction.STEP, pack(np.int64(0)))
    first, again = client.answer(call), client.answer(call)
    expect(first.body == again.body, "the second answer differs from the first")
    total = client.step()[4]["total"]
    expect(total == 2, f"{total} steps were made for two")
    client.value(EnvAction.CLOSE)


def asked_while_busy(bridge: Bridge) -> None:
    """A call that is asked again while it is being done is done once."""
    client = bridge.client()
    client.made()
    call = client.call(EnvAction.STEP, pack(np.int64(2)))
    bridge.link.say(call)
    client.answer(call)
    total = client.step()[4]["total"]
    expect(total == 2, f"{total} steps were made for two")
    client.value(EnvAction.CLOSE)


def survives_a_cut(bridge: Bridge) -> None:
    """It dials again after a cut, as the same stream, and the step that was under way was done once."""
    client = bridge.client()
    client.made()
    stream = bridge.link.hello.stream
    for _ in range(3):
        call = client.call(EnvAction.STEP, pack(np.int64(0)))
        bridge.link.say(call)
        bridge.cut()
        expect(bridge.link.hello.stream == stream, "it came back with another stream, as if it were another process")
        client.answer(call)
    total = client.step()[4]["total"]
    expect(total == 4, f"{total} steps were made for four")
    client.value(EnvAction.CLOSE)


def knows_its_clients(bridge: Bridge) -> None:
    """A client that has made nothing is unknown, and so is one that has closed its environment."""
    client = bridge.client()
    client.refused("unknown_client", client.call(EnvAction.STEP, pack(np.int64(0))))
    client = bridge.client()
    client.made()
    client.value(EnvAction.CLOSE)
    client.refused("unknown_client", client.call(EnvAction.RESET, body_of(Reset())))


def refuses(bridge: Bridge) -> None:
    """An environment that it does not offer, and a body that is none, are refused in a sentence."""
    client = bridge.client()
    client.refused("unknown_environment", client.call(EnvAction.MAKE, body_of(Make("os:system"))))
    client.refused("bad_call", client.call(EnvAction.MAKE, b"\xc1"))
    client.made()
    client.refused("bad_call", client.call(EnvAction.STEP, b"\xc1"))
    client.refused("bad_call", client.call(EnvAction.RESET, pack({"seed": "x"})))
    client.value(EnvAction.CLOSE)


def tells_what_was_raised(bridge: Bridge) -> None:
    """An environment that raises is told with its own words; it and the others go on."""
    one, other = bridge.client(), bridge.client()
    one.made(), other.made()
    told = one.refused("raised", one.call(EnvAction.STEP, pack(np.int64(1))))
    expect("asked to raise" in told, f"it is told as {told!r}")
    expect(one.step()[0][0] == 1.0 and other.step()[0][0] == 1.0, "a step after it is not the first")
    one.value(EnvAction.CLOSE), other.value(EnvAction.CLOSE)


def keeps_clients_apart(bridge: Bridge) -> None:
    """A client that waits does not keep another from its answer."""
    slow, quick = bridge.client(), bridge.client()
    slow.made(), quick.made()
    call = slow.call(EnvAction.STEP, pack(np.int64(2)))
    bridge.link.say(call)
    quick.step()
    slow.heard(call)
    slow.value(EnvAction.CLOSE), quick.value(EnvAction.CLOSE)


def keeps_to_its_number(bridge: Bridge) -> None:
    """It makes as many environments as its hello says, and refuses one more in a sentence."""
    most = bridge.link.hello.cars
    client = bridge.client()
    make = body_of(Make(bridge.name, count=most)) if most > 1 else body_of(Make(bridge.name))
    expect(client.answer(client.call(EnvAction.MAKE, make)).error is None, f"it does not make {most} at once")
    other = bridge.client()
    other.refused("full", other.call(EnvAction.MAKE, body_of(Make(bridge.name))))
    client.value(EnvAction.CLOSE)
    other.made()
    other.value(EnvAction.CLOSE)


def steps_a_vector(bridge: Bridge) -> None:
    """It steps a vector by one call (where it makes more than one environment)."""
    if bridge.link.hello.cars < 2:
        return
    client = bridge.client()
    client.answer(client.call(EnvAction.MAKE, body_of(Make(bridge.name, count=2))))
    client.value(EnvAction.RESET, body_of(Reset(seed=[1, None])))
    observations, rewards, terminations, truncations, _ = client.value(EnvAction.STEP, pack(np.zeros(2, np.int64)))
    expect(observations.tolist() == [[1.0], [1.0]], f"the observations are {observations!r}")
    expect((rewards.dtype, rewards.tolist()) == (np.float64, [0.5, 0.5]), f"the rewards are {rewards!r}")
    expect(terminations.dtype == truncations.dtype == np.bool_, f"the ends are {terminations!r}, {truncations!r}")
    client.value(EnvAction.CLOSE)


def notices_silence(bridge: Bridge) -> None:
    """It pings when nothing is heard, and dials again when that is not answered."""
    stream = bridge.link.hello.stream
    heard = bridge.link.hear(ANSWER_SECONDS, answer_pings=False)
    expect(isinstance(heard, Ping), "it does not ping")
    with contextlib.suppress(ConnectionClosed):
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            bridge.link.hear(deadline - time.monotonic(), answer_pings=False)
        expect(False, f"it stays on a link on which nothing was heard for {ANSWER_SECONDS:.0f} s")
    bridge.cut()
    expect(bridge.link.hello.stream == stream, "it came back with another stream, as if it were another process")


CHECKS = (
    introduces_itself,
    makes,
    steps,
    answers_again,
    asked_while_busy,
    survives_a_cut,
    knows_its_clients,
    refuses,
    tells_what_was_raised,
    keeps_clients_apart,
    keeps_to_its_number,
    steps_a_vector,
    notices_silence,
)


@contextlib.contextmanager
def bridge_at(port: int) -> Iterator[Bridge]:
    """Who listens for the bridge that is to be tried."""
    bridge = Bridge(port)
    try:
        yield bridge
    finally:
        bridge.close()

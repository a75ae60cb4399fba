"""The gate: what an upgrade request must show, and how guessing is slowed down."""

import pytest
from websockets.datastructures import Headers

from train_cloud.receiver.auth import Gate
from train_cloud.throttle import Throttle
from wire.messages import PROTOCOL
from wire.pairing import basic_auth_header

TOKEN = "0123456789abcdefToken"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def request(token: str = TOKEN, protocol: str = PROTOCOL) -> Headers:
    return Headers({"Authorization": basic_auth_header(token), "Sec-WebSocket-Protocol": protocol})


def status(gate: Gate, headers: Headers, path: str = "/", address: str = "10.0.0.1") -> int | None:
    refusal = gate.judge(address, path, headers)
    return None if refusal is None else int(refusal.status)


def test_the_right_token_and_protocol_open_the_gate() -> None:
    assert status(Gate(TOKEN), request()) is None
    assert status(Gate(TOKEN), request(protocol=f"other.v1, {PROTOCOL}")) is None
    assert status(Gate(TOKEN), request(), path="/pin-" + "0f" * 32) is None


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Basic !!!", f"Bearer {TOKEN}", basic_auth_header(TOKEN[:-1]), basic_auth_header(TOKEN) + "x"],
)
def test_anything_but_the_token_is_unauthorized(value: str) -> None:
    headers = Headers({"Authorization": value, "Sec-WebSocket-Protocol": PROTOCOL})
    assert status(Gate(TOKEN), headers) == 401


def test_two_authorizations_are_none() -> None:
    headers = request()
    headers["Authorization"] = basic_auth_header(TOKEN)
    assert status(Gate(TOKEN), headers) == 401


def test_without_the_token_nothing_is_learnt_about_paths_and_protocols() -> None:
    assert status(Gate(TOKEN), request("x" * 20, "ac-training.v0"), path="/secret") == 401


def test_ten_wrong_tokens_a_minute_close_the_gate_to_that_address_alone() -> None:
    clock = Clock()
    gate = Gate(TOKEN, Throttle(failures=10, window=60.0, clock=clock))
    assert [status(gate, request("x" * 20)) for _ in range(11)] == [401] * 10 + [429]
    refusal = gate.judge("10.0.0.1", "/", request("y" * 20))
    assert refusal is not None
    assert dict(refusal.headers)["Retry-After"] == "60"
    assert status(gate, request("x" * 20), address="10.0.0.2") == 401
    clock.now += 60.0
    assert status(gate, request("x" * 20)) == 401


def test_the_right_token_is_let_in_whoever_else_guesses_from_its_address() -> None:
    gate = Gate(TOKEN)
    for _ in range(100):
        gate.judge("10.0.0.1", "/", request("x" * 20))
        assert status(gate, request()) is None


def test_a_missing_token_is_no_guess() -> None:
    gate = Gate(TOKEN)
    assert {status(gate, Headers()) for _ in range(100)} == {401}
    assert status(gate, request("x" * 20)) == 401


def test_rare_mistakes_never_close_the_gate() -> None:
    clock = Clock()
    gate = Gate(TOKEN, Throttle(failures=3, window=60.0, clock=clock))
    for _ in range(10):
        assert status(gate, request("x" * 20)) == 401
        clock.now += 31.0
        assert status(gate, request()) is None


def test_the_addresses_of_one_ipv6_customer_count_together() -> None:
    throttle = Throttle(failures=2)
    throttle.failed("2001:db8:1:2::1")
    throttle.failed("2001:db8:1:2::2")
    assert throttle.seconds_closed("2001:db8:1:2::3") > 0
    assert throttle.seconds_closed("2001:db8:1:3::1") == 0
    assert throttle.seconds_closed("::ffff:10.0.0.1") == 0


def test_a_flood_from_many_addresses_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train_cloud.throttle.MAX_ADDRESSES", 100)
    throttle = Throttle(failures=1)
    for number in range(1000):
        throttle.failed(f"10.0.{number // 256}.{number % 256}")
    assert throttle.seconds_closed("10.0.0.0") == 0
    assert throttle.seconds_closed("10.0.3.231") > 0

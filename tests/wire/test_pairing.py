"""The pairing string: what is accepted, what is refused and that the token shows nowhere."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.pairing import (
    Pairing,
    PairingError,
    PinMismatch,
    basic_auth_header,
    certificate_pin,
    check_pin,
    format_pairing,
    new_token,
    parse_basic_auth,
    parse_pairing,
    tokens_equal,
)

TOKEN = "Zq7" * 10
PIN = hashlib.sha256(b"certificate").hexdigest()


@given(
    host=st.sampled_from(["203.0.113.7", "example.org", "a-b.example", "::1", "localhost", "2001:db8::1"]),
    port=st.integers(1, 65535),
    pin=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
)
def test_a_pairing_survives_its_string(host: str, port: int, pin: str | None) -> None:
    pairing = Pairing(host, port, new_token(), pin)
    assert parse_pairing(format_pairing(pairing)) == pairing


def test_the_string_has_the_documented_form() -> None:
    text = format_pairing(Pairing("203.0.113.7", 8765, TOKEN, PIN))
    assert text == f"wss://bridge:{TOKEN}@203.0.113.7:8765/pin-{PIN}"


def test_the_port_has_a_default() -> None:
    assert parse_pairing(f"wss://bridge:{TOKEN}@example.org").port == 8765


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_plain_connections_are_for_this_machine(host: str) -> None:
    pairing = parse_pairing(f"ws://bridge:{TOKEN}@{host}:8765")
    assert not pairing.tls
    assert pairing.url == f"ws://{host}:8765/"


def test_plain_connections_elsewhere_need_to_be_allowed() -> None:
    text = f"ws://bridge:{TOKEN}@192.168.1.5:8765"
    with pytest.raises(PairingError, match="unencrypted") as caught:
        parse_pairing(text)
    assert "192.168.1.5" not in str(caught.value)
    assert parse_pairing(text, allow_plain=True).host == "192.168.1.5"


BAD = {
    "": "does not begin",
    "hello": "does not begin",
    f"https://bridge:{TOKEN}@host": "does not begin",
    f"wss://bridge:{TOKEN}@host:99999": "port cannot be read",
    f"wss://bridge:{TOKEN}@host:0": "port is 0",
    f"wss://bridge:{TOKEN}@host:port": "port cannot be read",
    f"wss://bridge:{TOKEN}@[::1": "cannot be read",
    "wss://host:8765": "no `bridge:TOKEN@`",
    f"wss://root:{TOKEN}@host": "no `bridge:TOKEN@`",
    "wss://bridge:short@host": "16 to 128",
    f"wss://bridge:{TOKEN}%20@host": "16 to 128",
    f"wss://bridge:{TOKEN}@": "no valid host",
    f"wss://bridge:{TOKEN}@ho_st": "no valid host",
    f"wss://bridge:{TOKEN}@a..b": "no valid host",
    f"wss://bridge:{TOKEN}@{'a' * 64}.example": "no valid host",
    f"wss://bridge:{TOKEN}@{'a.' * 127}example": "no valid host",
    f"wss://bridge:{TOKEN}@-a.example": "no valid host",
    f"wss://bridge:{TOKEN}@host/pin-12": "64 hex digits",
    f"wss://bridge:{TOKEN}@host/{PIN}": "64 hex digits",
    f"wss://bridge:{TOKEN}@host?x=1": "goes on",
    f"wss://bridge:{TOKEN}@host/pin-{PIN}#x": "goes on",
    f"ws://bridge:{TOKEN}@localhost/pin-{PIN}": "needs wss",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_string_is_refused_without_showing_the_token(text: str) -> None:
    with pytest.raises(PairingError, match=BAD[text]) as caught:
        parse_pairing(text)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(max_size=80) | st.text(max_size=60).map(lambda tail: f"wss://bridge:{TOKEN}@{tail}"))
def test_any_text_is_a_pairing_or_a_pairing_error(text: str) -> None:
    try:
        shown = repr(parse_pairing(text))
    except PairingError as error:
        shown = str(error)
    assert TOKEN not in shown


def test_no_repr_shows_the_token() -> None:
    assert TOKEN not in repr(Pairing("host", 1, TOKEN, PIN))


def test_a_pin_is_the_sha256_of_the_certificate() -> None:
    assert certificate_pin(b"certificate") == PIN
    check_pin(b"certificate", PIN)
    with pytest.raises(PinMismatch, match="token was not sent"):
        check_pin(b"another certificate", PIN)


def test_basic_auth_carries_the_token() -> None:
    assert basic_auth_header("ab") == "Basic YnJpZGdlOmFi"
    assert parse_basic_auth(basic_auth_header(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    "header", [None, "", "Basic", "Basic !!", "Bearer x", "Basic cm9vdDp4", "Basic /w==", "Basic YnJpZGdlOg=="]
)
def test_any_other_header_carries_none(header: str | None) -> None:
    assert parse_basic_auth(header) is None


@given(st.text())
def test_no_header_breaks_the_parser(text: str) -> None:
    assert parse_basic_auth(text) is None or text.lower().startswith("basic ")


def test_tokens_are_compared_whole() -> None:
    assert tokens_equal(TOKEN, TOKEN)
    assert not tokens_equal(TOKEN[:-1], TOKEN)
    assert not tokens_equal("\ud800", TOKEN)


def test_new_tokens_are_letters_and_digits_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.isascii() and token.isalnum() and len(token) == 40 for token in tokens)

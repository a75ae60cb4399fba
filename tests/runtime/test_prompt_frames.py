"""Frames that are written and read past the websockets library are the library's own, whichever way they come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from runtime.prompt_frames import frame_of, message_in

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 70000)


def connected() -> tuple[ClientProtocol, ServerProtocol]:
    """Both ends of a connection after the handshake."""
    client, server = ClientProtocol(parse_uri("ws://localhost/")), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]  # a request
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    assert client.state is server.state is State.OPEN
    return client, server


def heard(protocol: Protocol, data: bytes) -> list[bytes]:
    """The messages in what comes, as whoever uses both ways hears them."""
    if (message := message_in(data, protocol)) is not None:
        return [message]
    protocol.receive_data(data)
    return [
        bytes(event.data)
        for event in protocol.events_received()
        if isinstance(event, Frame) and event.opcode is Opcode.BINARY
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("upwards", [True, False])
def test_a_message_goes_past_the_library_and_through_it(size: int, upwards: bool) -> None:
    message = bytes(index % 251 for index in range(size))
    sender, hearer = connected() if upwards else connected()[::-1]
    frame = frame_of(message, sender)
    assert message_in(frame, hearer) == (message if len(frame) >= 6 else None)
    assert heard(hearer, frame) == [message]
    hearer.receive_data(frame)
    (event,) = hearer.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, bytes(event.data), event.fin) == (Opcode.BINARY, message, True)
    sender.send_binary(message)
    assert heard(hearer, b"".join(sender.data_to_send())) == [message]
    assert hearer.state is State.OPEN


@given(
    messages=st.lists(st.binary(max_size=300), min_size=1, max_size=6),
    upwards=st.booleans(),
    draw=st.data(),
)
def test_messages_are_whole_and_in_order_wherever_the_pieces_begin(
    messages: list[bytes], upwards: bool, draw: st.DataObject
) -> None:
    sender, hearer = connected() if upwards else connected()[::-1]
    stream = b"".join(frame_of(message, sender) for message in messages)
    cuts = draw.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    pieces = [stream[begin:end] for begin, end in pairwise(sorted({0, *cuts, len(stream)}))]
    assert [message for piece in pieces for message in heard(hearer, piece)] == messages
    assert hearer.state is State.OPEN


def test_what_looks_like_a_message_within_another_is_none() -> None:
    sender, hearer = connected()[::-1]
    inner = frame_of(b"this is part of another", sender)
    outer = frame_of(b"before" + inner, sender)
    head = len(outer) - len(inner)
    assert heard(hearer, outer[:head]) == []
    assert heard(hearer, outer[head:]) == [b"before" + inner]
    # After the head alone nothing waits in the library's buffer.
    assert heard(hearer, frame_of(inner, sender)[:2]) == []
    assert heard(hearer, inner) == [inner]


def test_a_frame_that_only_the_other_side_may_send_breaks_the_connection() -> None:
    client, server = connected()
    unmasked = frame_of(b"a message that is long enough", server)
    assert message_in(unmasked, server) is None
    server.receive_data(unmasked)
    assert server.state is State.CLOSING
    assert message_in(frame_of(b"more", client), server) is None

"""Messages survive both kinds of frame, and no frame raises anything but FrameError."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.frames import FrameError, FrameTooLarge, decode_down, decode_up, encode_frame, encode_text
from wire.messages import (
    MAX_BLOB_BYTES,
    MAX_OFF_TRACKS,
    MAX_UP_FRAME_BYTES,
    Ack,
    DownMessage,
    Drain,
    Error,
    ErrorCode,
    FlowControl,
    Hello,
    Ping,
    Pong,
    Report,
    Telemetry,
    TrackAnnouncement,
    Transition,
    TransitionBatch,
    UpMessage,
    WeightsUpdate,
    Welcome,
)

counts = st.integers(0, 2**53 - 1)
numbers = st.integers(1, 2**53 - 1)
names = st.text("abcxyz-09", min_size=1, max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
vectors = st.lists(finite, min_size=1, max_size=5)
hexadecimal = "0123456789abcdef"
places, gaps, shares = st.floats(0, 50_000), st.floats(-10_000, 10_000), st.floats(0, 1)
up_messages = st.one_of(
    st.builds(
        Hello,
        bridge=names,
        stream=st.text(hexadecimal, min_size=32, max_size=32),
        signature=st.text(max_size=30),
        role=names,
        spaces=st.text(max_size=30),
        real_time=st.booleans(),
        cars=st.integers(1, 4096),
        last_number=counts,
        weights_version=counts,
        software=names,
    ),
    st.builds(TransitionBatch, number=numbers, blob=st.binary(max_size=50)),
    st.builds(Transition, numbers, vectors, vectors, finite, vectors, st.booleans(), st.booleans()),
    st.builds(Ping, time=finite),
    st.builds(Report, counts, st.floats(0, 1e9), counts, counts, st.none() | st.floats(0, 1e9), st.none()),
    st.builds(TrackAnnouncement, st.binary(max_size=50)),
    st.builds(
        Telemetry,
        *(places, gaps, st.floats(0, 1000), st.integers(-1, 20), shares, shares, st.floats(-1, 1), counts),
        lap_time=st.floats(0, 1e9),
        delta=st.none() | st.floats(-1e6, 1e6),
        off_tracks=st.lists(st.tuples(places, gaps), max_size=MAX_OFF_TRACKS).map(tuple),
    ),
)
down_messages = st.one_of(
    st.builds(Welcome, names, counts, counts, counts, counts, counts, *[st.booleans()] * 3),
    st.builds(Ack, counts, counts),
    st.builds(FlowControl, counts, counts, counts, st.booleans()),
    st.builds(WeightsUpdate, numbers, st.text(hexadecimal, min_size=64, max_size=64), st.binary(max_size=50)),
    st.builds(Drain, st.text(max_size=30)),
    st.builds(Error, st.sampled_from(list(ErrorCode)), st.text(max_size=30)),
    st.builds(Pong, time=finite),
)


@given(up_messages)
def test_what_a_bridge_says_survives_binary_and_text_frames(message: UpMessage) -> None:
    assert decode_up(encode_frame(message)) == message
    assert decode_up(encode_text(message)) == message


@given(down_messages)
def test_what_a_receiver_says_survives_binary_and_text_frames(message: DownMessage) -> None:
    assert decode_down(encode_frame(message)) == message
    assert decode_down(encode_text(message)) == message


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_random_frames_raise_only_frame_errors(frame: bytes | str) -> None:
    for decode in (decode_up, decode_down):
        with pytest.raises(FrameError):
            decode(frame)


@given(message=up_messages, data=st.data())
def test_damaged_frames_raise_only_frame_errors(message: UpMessage, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    for damaged in (bytes(frame), bytes(frame[:cut])):
        with contextlib.suppress(FrameError):
            decode_up(damaged)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "transition_batch", "number": 0, "blob": ""},
        {"type": "transition_batch", "number": 2**53, "blob": ""},
        {"type": "transition_batch", "number": "1", "blob": ""},
        {"type": "transition_batch", "number": 1},
        {"type": "transition_batch", "number": 1, "blob": "", "extra": 1},
        {"type": "shout", "number": 1},
        {"type": "ack", "stored_through": 1, "safe_through": 1},
        {"number": 1, "blob": ""},
        [],
        None,
    ],
)
def test_a_message_out_of_bounds_is_refused_in_both_kinds_of_frame(fields: object) -> None:
    for frame in (json.dumps(fields), msgspec.msgpack.encode(fields)):
        with pytest.raises(FrameError, match="not a valid message"):
            decode_up(frame)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_transition_with_nan_or_infinity_is_refused(value: float) -> None:
    fields = {
        "type": "transition",
        "number": 1,
        "observation": [0.0, value],
        "action": [0.0],
        "reward": 0.0,
        "next_observation": [0.0, 0.0],
        "terminated": False,
        "truncated": False,
    }
    with pytest.raises(FrameError, match="NaN or an infinite"):
        decode_up(msgspec.msgpack.encode(fields))
    with pytest.raises(FrameError):
        decode_up(json.dumps(fields))


TELEMETRY = Telemetry(1.0, -2.0, 30.0, 3, 0.5, 0.0, -0.25, 2, 12.5, -0.125, ((7.0, 8.0),))


@pytest.mark.parametrize("name", ["place", "gap", "speed", "throttle", "brake", "steer", "lap_time", "delta", "gear"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e12, -1e12])
def test_telemetry_with_a_number_out_of_bounds_is_refused(name: str, value: float) -> None:
    assert decode_up(encode_frame(TELEMETRY)) == TELEMETRY
    fields = msgspec.to_builtins(TELEMETRY) | {name: value}
    with pytest.raises(FrameError):
        decode_up(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("spots", [[[1.0, float("nan")]], [[-1.0, 0.0]], [[1.0]], [[1.0, 2.0]] * (MAX_OFF_TRACKS + 1)])
def test_telemetry_with_wrong_places_is_refused(spots: list[list[float]]) -> None:
    fields = msgspec.to_builtins(TELEMETRY) | {"off_tracks": spots}
    with pytest.raises(FrameError):
        decode_up(msgspec.msgpack.encode(fields))


def test_a_frame_or_blob_above_the_limit_is_refused() -> None:
    with pytest.raises(FrameTooLarge):
        decode_up(bytes(MAX_UP_FRAME_BYTES + 1))
    with pytest.raises(FrameError):
        decode_up(encode_frame(TransitionBatch(1, bytes(MAX_BLOB_BYTES + 1))))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(FrameError):
        decode_up(b"\x82\xa1x" + b"\x91" * 100_000)
    with pytest.raises(FrameError):
        decode_up('{"x":' + "[" * 100_000)

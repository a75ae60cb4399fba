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
    MAX_CHUNK,
    MAX_FRAMES,
    MAX_OFF_TRACKS,
    MAX_UP_FRAME_BYTES,
    Ack,
    ControlChunk,
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
    TelemetryBatch,
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
within_1, times = st.floats(-1, 1), st.floats(0, 1e9)
wheels = st.none() | st.tuples(*[st.floats(0, 1e4)] * 4)
pairs = st.none() | st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000))
telemetry = st.builds(
    Telemetry,
    place=st.none() | places,
    gap=st.none() | gaps,
    speed=st.floats(0, 1000),
    gear=st.integers(-1, 20),
    throttle=shares,
    brake=shares,
    steer=within_1,
    laps=counts,
    lap_time=times,
    delta=st.none() | st.floats(-1e6, 1e6),
    off_tracks=st.lists(st.tuples(places, gaps), max_size=MAX_OFF_TRACKS).map(tuple),
    valid=st.booleans(),
    time=st.none() | times,
    position=pairs,
    heading=st.none() | st.floats(-7, 7),
    velocity=pairs,
    acceleration=pairs,
    yaw_rate=st.none() | st.floats(-9, 9),
    engine_rpm=st.none() | st.floats(0, 20_000),
    wheel_slip=wheels,
    wheel_load=wheels,
    wheel_angular_speed=wheels,
    wheels_out=st.none() | st.integers(0, 4),
    collided=st.none() | st.booleans(),
    episode=st.none() | counts,
    ended=st.none() | names,
    action=st.none() | st.tuples(within_1, within_1),
    action_age=st.none() | times,
    chunk=st.none() | counts,
)
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
    telemetry,
    st.builds(TelemetryBatch, numbers, st.lists(telemetry, min_size=1, max_size=4).map(tuple)),
)
down_messages = st.one_of(
    st.builds(Welcome, names, counts, counts, counts, counts, counts, *[st.booleans()] * 3),
    st.builds(Ack, counts, counts),
    st.builds(
        ControlChunk,
        *(numbers, times, times, st.floats(0.001, 1.0)),
        actions=st.lists(st.tuples(within_1, within_1), min_size=1, max_size=20).map(tuple),
        expires=times,
        version=counts,
    ),
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


TELEMETRY = Telemetry(
    place=1.0,
    gap=-2.0,
    speed=30.0,
    gear=3,
    throttle=0.5,
    brake=0.0,
    steer=-0.25,
    laps=2,
    lap_time=12.5,
    delta=-0.125,
    off_tracks=((7.0, 8.0),),
)
_NO_NUMBERS = {"type", "off_tracks", "valid", "collided", "ended"}
_LENGTHS = {
    **dict.fromkeys(("position", "velocity", "acceleration", "action"), 2),
    **dict.fromkeys(("wheel_slip", "wheel_load", "wheel_angular_speed"), 4),
}


@pytest.mark.parametrize("name", sorted(set(Telemetry.__struct_fields__) - _NO_NUMBERS - set(_LENGTHS)))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 2e17, -2e17])
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


@pytest.mark.parametrize(("name", "length"), _LENGTHS.items())
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2e17, -2e17])
def test_telemetry_with_a_vector_out_of_bounds_is_refused(name: str, length: int, value: float) -> None:
    whole = msgspec.to_builtins(TELEMETRY) | {name: [0.5] * length}
    assert decode_up(msgspec.msgpack.encode(whole)) != TELEMETRY
    for wrong in ([0.5] * (length - 1) + [value], [0.5] * (length + 1)):
        with pytest.raises(FrameError, match=name):
            decode_up(msgspec.msgpack.encode(whole | {name: wrong}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"period": 0.0},
        {"first": float("nan")},
        {"actions": []},
        {"actions": [[0.0, 1.5]]},
        {"actions": [[0.0, 0.0]] * (MAX_CHUNK + 1)},
        {"expires": -1.0},
    ],
)
def test_a_chunk_out_of_bounds_is_refused(wrong: dict[str, object]) -> None:
    chunk = ControlChunk(1, 10.0, 10.1, 0.05, ((0.0, 1.0), (0.1, -1.0)), 10.5, 3)
    assert decode_down(encode_text(chunk)) == chunk
    with pytest.raises(FrameError):
        decode_down(msgspec.msgpack.encode(msgspec.to_builtins(chunk) | wrong))


def test_a_batch_of_frames_needs_no_type_in_each_and_holds_some() -> None:
    frame = msgspec.to_builtins(TELEMETRY)
    del frame["type"]
    batch = {"type": "telemetry_batch", "number": 1, "frames": [frame]}
    assert decode_up(json.dumps(batch)) == TelemetryBatch(1, (TELEMETRY,))
    for frames in ([], [frame] * (MAX_FRAMES + 1)):
        with pytest.raises(FrameError):
            decode_up(json.dumps(batch | {"frames": frames}))


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
